//! The one file with TLS parameters.
//!
//! TLS 1.2 and 1.3 with the suites of rustls, all of them AEAD with forward secrecy; ALPN `h2`, or `http/1.1` at bundle endpoints. No resumption in either direction:
//! a resumed session would skip the verification of the peer's certificate, and with it expiry and a changed bundle.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// gRPC is HTTP/2, and Go's client insists that the server says so.
const ALPN: &[u8] = b"h2";
/// Bundle endpoints are asked once in a while for one document.
const HTTPS_ALPN: &[u8] = b"http/1.1";

/// The cryptography of all connections. Named wherever a configuration is built, since rustls panics when two providers are linked
/// and none is chosen.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Algorithms of a peer's handshake signature.
pub(crate) fn signature_algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

/// Starts a server configuration.
pub(crate) fn server(
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(VERSIONS)
}

/// Completes a server configuration.
pub(crate) fn finish_server(config: ServerConfig) -> ServerConfig {
    finish_server_for(config, ALPN)
}

/// Completes the configuration of an HTTPS server.
pub(crate) fn finish_https_server(config: ServerConfig) -> ServerConfig {
    finish_server_for(config, HTTPS_ALPN)
}

fn finish_server_for(mut config: ServerConfig, protocol: &[u8]) -> ServerConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// Starts a client configuration.
pub(crate) fn client(
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(VERSIONS)
}

/// Completes a client configuration.
pub(crate) fn finish_client(config: ClientConfig) -> ClientConfig {
    finish_client_for(config, ALPN)
}

/// Completes the configuration of an HTTPS client.
pub(crate) fn finish_https_client(config: ClientConfig) -> ClientConfig {
    finish_client_for(config, HTTPS_ALPN)
}

fn finish_client_for(mut config: ClientConfig, protocol: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config
}
