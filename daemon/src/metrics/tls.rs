//! TLS of the listener for Prometheus: a certificate from files or the program's own SVID; clients by an authority or by SPIFFE ID.
//! Files are read once, as SPIRE does; SVID and bundles are those of each handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_transport::{
    BundleSlot, CertificateSlot, HttpsClients, HttpsServerTls, IdentitySlot, ServedCertificate, ServedCertificateError,
    TlsConfigError, TlsNow, WebRoots, WebRootsError,
};

use super::settings::{Admits, Presents, TlsSettings};

/// What the program shows of itself, and the bundles that it knows.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its SVID.
    pub identity: Arc<IdentitySlot>,
    /// Its own trust domain's, and those of others.
    pub bundles: Arc<BundleSlot>,
}

/// Tells it as of now; nothing before the program has an SVID. No handshake that needs it succeeds until then.
pub type OwnNow = Arc<dyn Fn() -> Option<Own> + Send + Sync>;

/// Why TLS for metrics can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricsTlsError {
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate and key can't be used.
    #[error("cert_file {} and key_file {} can't be used", certificate.display(), key.display())]
    Certificate {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: ServedCertificateError,
    },
    /// No authority for clients.
    #[error("client_ca_file {} can't be used", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WebRootsError,
    },
    /// rustls refuses it.
    #[error("client_ca_file can't be used")]
    Config(#[from] TlsConfigError),
}

/// Its files have been read.
pub(super) struct Tls {
    certificate: Option<Arc<CertificateSlot>>,
    clients: Clients,
}

enum Clients {
    Fixed(HttpsClients),
    Svids(Vec<plastron_spiffe::SpiffeId>),
}

impl Tls {
    pub(super) fn open(TlsSettings { presents, admits }: &TlsSettings) -> Result<Self, MetricsTlsError> {
        let certificate = match presents {
            Presents::Svid => None,
            Presents::Files { certificate, key } => Some(CertificateSlot::new(served(certificate, key)?)),
        };
        let clients = match admits {
            Admits::Anyone => Clients::Fixed(HttpsClients::Anyone),
            Admits::CertifiedBy(path) => {
                let roots = WebRoots::from_pem(&read(path)?);
                let roots = roots.map_err(|source| MetricsTlsError::Authorities { path: path.clone(), source })?;
                Clients::Fixed(HttpsClients::CertifiedBy(roots))
            }
            Admits::Svids(ids) => Clients::Svids(ids.clone()),
        };
        let opened = Self { certificate, clients };
        if let (Some(certificate), Clients::Fixed(clients)) = (&opened.certificate, &opened.clients) {
            HttpsServerTls::new(Arc::clone(certificate) as Arc<_>, clients.clone())?;
        }
        Ok(opened)
    }

    /// For the handshakes of a listener.
    pub(super) fn now(self, own: OwnNow) -> TlsNow {
        Arc::new(move || match self.of(&own) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::warn!(%error, "Metrics can't be served over TLS");
                None
            }
        })
    }

    fn of(&self, own: &OwnNow) -> Result<Option<HttpsServerTls>, TlsConfigError> {
        let clients = match &self.clients {
            Clients::Fixed(clients) => clients.clone(),
            Clients::Svids(ids) => {
                let Some(Own { bundles, .. }) = own() else { return Ok(None) };
                HttpsClients::Svids { ids: ids.clone(), bundles }
            }
        };
        match &self.certificate {
            Some(certificate) => HttpsServerTls::new(Arc::clone(certificate) as Arc<_>, clients).map(Some),
            None => match own() {
                Some(Own { identity, .. }) => HttpsServerTls::new(identity, clients).map(Some),
                None => Ok(None),
            },
        }
    }
}

fn served(certificate: &Path, key: &Path) -> Result<ServedCertificate, MetricsTlsError> {
    let key_pem = zeroize::Zeroizing::new(read(key)?);
    ServedCertificate::from_pem(&read(certificate)?, &key_pem).map_err(|source| MetricsTlsError::Certificate {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, MetricsTlsError> {
    std::fs::read(path).map_err(|source| MetricsTlsError::Read { path: path.to_owned(), source })
}
