//! Whom a listener for HTTPS lets in by certificate: those that an authority certified, or those whose X.509-SVID has one of some IDs.

use std::sync::Arc;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{Purpose, SvidError, X509Svid, verify_chain};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::web::WebRoots;
use crate::tls::BundleSlot;
use crate::tls_profile;

/// Whom a listener lets in.
#[derive(Clone, Debug)]
pub enum HttpsClients {
    /// Whoever connects; no certificate is asked for.
    Anyone,
    /// Whose certificate leads to one of these authorities.
    CertifiedBy(WebRoots),
    /// Whose X.509-SVID has one of these IDs, by the bundles in a slot.
    Svids {
        /// The IDs.
        ids: Vec<SpiffeId>,
        /// The bundles of their trust domains.
        bundles: Arc<BundleSlot>,
    },
}

/// Why a client with a certificate is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefused {
    /// Not a valid X.509-SVID of a trusted domain.
    #[error("the client's certificate is not a valid X.509-SVID")]
    Svid(#[from] SvidError),
    /// A valid X.509-SVID of someone who is not on the list.
    #[error("{id} may not connect")]
    Unlisted {
        /// Who it is.
        id: SpiffeId,
    },
}

impl HttpsClients {
    /// `None` where no certificate is asked for.
    pub(super) fn verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, VerifierBuilderError> {
        match self {
            Self::Anyone => Ok(None),
            Self::CertifiedBy(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.store(), provider).build()?;
                Ok(Some(verifier))
            }
            Self::Svids { ids, bundles } => Ok(Some(Arc::new(SvidClients { ids, bundles, provider }))),
        }
    }
}

#[derive(Debug)]
struct SvidClients {
    ids: Vec<SpiffeId>,
    bundles: Arc<BundleSlot>,
    provider: Arc<CryptoProvider>,
}

impl SvidClients {
    /// A chain to the bundle of its trust domain, for a client, valid now; then the ID.
    fn judge(&self, chain: Vec<Vec<u8>>, now: UnixTime) -> Result<(), ClientRefused> {
        let svid = verify_chain(X509Svid::parse(chain)?, &*self.bundles.load(), Purpose::ClientAuth, now)?;
        if self.ids.contains(svid.id()) { Ok(()) } else { Err(ClientRefused::Unlisted { id: svid.id().clone() }) }
    }
}

impl ClientCertVerifier for SvidClients {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(intermediates).map(|certificate| certificate.to_vec()).collect();
        let refused = |refused| CertificateError::Other(OtherError(Arc::new(refused)));
        self.judge(chain, now).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &tls_profile::signature_algorithms(&self.provider))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &tls_profile::signature_algorithms(&self.provider))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls_profile::signature_algorithms(&self.provider).supported_schemes()
    }
}
