//! The certificate of an `https_web` endpoint: a chain and its key as PEM, which must belong together.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls_profile;

/// A certificate with its chain and private key, ready to be presented.
#[derive(Clone)]
pub struct ServedCertificate(Arc<CertifiedKey>);

impl ServedCertificate {
    /// From PEM: all CERTIFICATE blocks of `chain`, leaf first, and the first private key of `key` (PKCS#8, PKCS#1 or SEC 1). Checks that
    /// there are both and that they belong together; names and dates are for clients to look at.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ServedCertificateError> {
        let certificates = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServedCertificateError::Chain)?;
        if certificates.is_empty() {
            return Err(ServedCertificateError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(ServedCertificateError::Key)?;
        let key =
            tls_profile::provider().key_provider.load_private_key(key).map_err(ServedCertificateError::Unusable)?;
        let certified = CertifiedKey::new(certificates, key);
        certified.keys_match().map_err(ServedCertificateError::Unusable)?;
        Ok(Self(Arc::new(certified)))
    }
}

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServedCertificate({} certificates)", self.0.cert.len())
    }
}

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServedCertificateError {
    /// The chain is no PEM.
    #[error("the certificate file is malformed")]
    Chain(#[source] pem::Error),
    /// No certificate in it.
    #[error("the certificate file holds no PEM block of type CERTIFICATE")]
    NoCertificate,
    /// The key is no PEM, or of an unknown form.
    #[error("the key file holds no private key in PEM")]
    Key(#[source] pem::Error),
    /// A key that TLS can't use, or of another certificate.
    #[error("the key can't be used with the certificate")]
    Unusable(#[source] rustls::Error),
}

/// Where a listener finds its certificate; replaced at any time, in force from the next handshake.
#[derive(Debug)]
pub struct CertificateSlot(ArcSwap<ServedCertificate>);

impl CertificateSlot {
    /// Holds this certificate until it is replaced.
    pub fn new(certificate: ServedCertificate) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(certificate)))
    }

    /// Presents this one from the next handshake on.
    pub fn replace(&self, certificate: ServedCertificate) {
        self.0.store(Arc::new(certificate));
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().0))
    }
}
