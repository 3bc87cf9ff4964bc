//! Verifies the peer of one connection and keeps the result: the proof that a handler sees is about the very chain whose key signed
//! this handshake. A verifier is made per connection, which costs little beside the signatures of a handshake.

use std::sync::{Arc, Mutex, PoisonError};

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{Purpose, SvidError, VerifiedSvid, X509Svid, verify_chain, verify_successor};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::BundleSlot;
use crate::tls_profile;

/// What became of the peer's certificate.
pub(crate) type Verdict = Option<Result<Arc<VerifiedSvid>, PeerRefused>>;

/// Why a peer's certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// Not a valid X.509-SVID of a trusted domain.
    #[error("the peer's certificate is not a valid X.509-SVID")]
    Svid(#[from] SvidError),
    /// A valid X.509-SVID of someone else.
    #[error("the peer is {got}, not {expected}")]
    Id {
        /// Who it should be.
        expected: SpiffeId,
        /// Who it is.
        got: SpiffeId,
    },
}

/// Which authorities speak for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Believes {
    /// Those of the bundle that have not expired.
    Bundles,
    /// The same; where all have expired, also the successor that one of them named.
    BundlesOrSuccessor,
}

#[derive(Debug)]
pub(crate) struct PeerVerifier {
    bundles: Arc<BundleSlot>,
    expected: Option<SpiffeId>,
    believes: Believes,
    provider: Arc<CryptoProvider>,
    verdict: Mutex<Verdict>,
}

impl PeerVerifier {
    pub(crate) fn new(
        bundles: &Arc<BundleSlot>,
        expected: Option<SpiffeId>,
        believes: Believes,
        provider: &Arc<CryptoProvider>,
    ) -> Arc<Self> {
        let (bundles, provider) = (Arc::clone(bundles), Arc::clone(provider));
        Arc::new(Self { bundles, expected, believes, provider, verdict: Mutex::new(None) })
    }

    /// After the handshake, also a failed one; `None` where the peer presented no certificate.
    pub(crate) fn take_verdict(&self) -> Verdict {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain =
            std::iter::once(leaf).chain(intermediates).map(|certificate| certificate.as_ref().to_vec()).collect();
        let result = self.judge(chain, purpose, now);
        let answer = match &result {
            Ok(_) => Ok(()),
            Err(refused) => Err(rustls::Error::InvalidCertificate(alert_for(refused))),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        answer
    }

    fn judge(&self, chain: Vec<Vec<u8>>, purpose: Purpose, now: UnixTime) -> Result<Arc<VerifiedSvid>, PeerRefused> {
        let (svid, bundles) = (X509Svid::parse(chain)?, self.bundles.load());
        let svid = match (verify_chain(svid.clone(), &*bundles, purpose, now), self.believes) {
            // The stricter of the two decides first; the other has its own conditions.
            (Err(SvidError::UnknownAuthority { .. }), Believes::BundlesOrSuccessor) => {
                verify_successor(svid, &*bundles, purpose, now)?
            }
            (result, _) => result?,
        };
        match &self.expected {
            Some(expected) if svid.id() != expected => {
                Err(PeerRefused::Id { expected: expected.clone(), got: svid.id().clone() })
            }
            _ => Ok(Arc::new(svid)),
        }
    }
}

/// rustls turns this into the alert that the peer sees.
fn alert_for(refused: &PeerRefused) -> CertificateError {
    match refused {
        PeerRefused::Svid(SvidError::Expired { .. }) => CertificateError::Expired,
        PeerRefused::Svid(SvidError::NotYetValid { .. }) => CertificateError::NotValidYet,
        PeerRefused::Svid(SvidError::UnknownAuthority { .. } | SvidError::UnknownTrustDomain { .. }) => {
            CertificateError::UnknownIssuer
        }
        PeerRefused::Svid(_) | PeerRefused::Id { .. } => CertificateError::Other(OtherError(Arc::new(refused.clone()))),
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// Nodes that attest have no SVID yet; the authorisation table says what they may call.
    fn client_auth_mandatory(&self) -> bool {
        false
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
        self.verify(leaf, intermediates, Purpose::ClientAuth, now)?;
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

impl ServerCertVerifier for PeerVerifier {
    /// The name that was dialled is not looked at: the SPIFFE ID is.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, Purpose::ServerAuth, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}
