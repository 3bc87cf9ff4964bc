//! Web PKI for `https_web`: a certificate of a public authority, for the name that was dialled.

use std::sync::{Arc, Mutex, PoisonError};

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::X509Svid;
use rustls::client::VerifierBuilderError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls_profile;

/// The authorities that speak for names.
#[derive(Clone, Debug)]
pub struct WebRoots(Arc<RootCertStore>);

impl WebRoots {
    /// The system's: the file of `SSL_CERT_FILE` and the folders of `SSL_CERT_DIR` where one of these is set, else where the system keeps
    /// them. Reads files. What does not parse is left out; that nothing is left is an error.
    pub fn of_the_system() -> Result<Self, WebRootsError> {
        let found = rustls_native_certs::load_native_certs();
        let reason = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        Self::some(found.certs).ok_or(WebRootsError { reason })
    }

    /// Those of a PEM file, and no others.
    pub fn from_pem(pem: &[u8]) -> Result<Self, WebRootsError> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| WebRootsError { reason: error.to_string() })?;
        Self::some(certificates).ok_or_else(|| WebRootsError { reason: "the file holds none".to_owned() })
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }

    fn some(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let (added, _malformed) = roots.add_parsable_certificates(certificates);
        (added > 0).then(|| Self(Arc::new(roots)))
    }
}

/// There is nothing that a name could be verified against.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate authority of the web PKI can be used: {reason}")]
pub struct WebRootsError {
    /// What the reader said.
    pub reason: String,
}

/// The web's verifier, which keeps whose SVID it was that it refused: a profile that is the wrong one is the commonest mistake.
#[derive(Debug)]
pub(super) struct WebVerifier {
    inner: Arc<WebPkiServerVerifier>,
    refused: Mutex<Option<SpiffeId>>,
}

impl WebVerifier {
    pub(super) fn new(WebRoots(roots): &WebRoots) -> Result<Arc<Self>, VerifierBuilderError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), tls_profile::provider()).build()?;
        Ok(Arc::new(Self { inner, refused: Mutex::new(None) }))
    }

    /// The SPIFFE ID in a certificate that was refused; what it claims, and no more.
    pub(super) fn claimed_id(&self) -> Option<SpiffeId> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for WebVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(leaf, intermediates, name, ocsp_response, now).inspect_err(|_refused| {
            let svid = X509Svid::parse(vec![leaf.as_ref().to_vec()]).ok();
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = svid.map(|svid| svid.claimed_id().clone());
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
