//! The server's side of a handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::verifier::{Believes, PeerVerifier, Verdict};
use super::{BundleSlot, IdentitySlot};
use crate::tls_profile;

/// Presents the SVID in a slot, and verifies a client's certificate, where there is one, as an X.509-SVID of a trust domain in a slot.
#[derive(Clone, Debug)]
pub struct ServerTls {
    identity: Arc<IdentitySlot>,
    bundles: Arc<BundleSlot>,
    provider: Arc<CryptoProvider>,
}

impl ServerTls {
    /// With these slots, whose content may change at any time.
    pub fn new(identity: Arc<IdentitySlot>, bundles: Arc<BundleSlot>) -> Self {
        Self { identity, bundles, provider: tls_profile::provider() }
    }

    /// One handshake, and what became of the client's certificate.
    pub(super) async fn accept(&self, stream: TcpStream) -> (std::io::Result<TlsStream<TcpStream>>, Verdict) {
        let verifier = PeerVerifier::new(&self.bundles, None, Believes::Bundles, &self.provider);
        let config = match self.config(&verifier) {
            Ok(config) => config,
            Err(error) => return (Err(std::io::Error::other(error)), None),
        };
        let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        (accepted, verifier.take_verdict())
    }

    fn config(&self, verifier: &Arc<PeerVerifier>) -> Result<ServerConfig, rustls::Error> {
        let identity = Arc::clone(&self.identity);
        let config = tls_profile::server(&self.provider)?
            .with_client_cert_verifier(Arc::clone(verifier) as Arc<_>)
            .with_cert_resolver(identity);
        Ok(tls_profile::finish_server(config))
    }
}
