//! The client's side: a gRPC channel to the one server that has a given SPIFFE ID.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use hyper_util::rt::TokioIo;
use plastron_spiffe::SpiffeId;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::verifier::{Believes, PeerRefused, PeerVerifier};
use super::{BundleSlot, IdentitySlot};
use crate::tls_profile;

/// How long TCP and TLS handshake together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A dead server is noticed after interval and timeout, also while a stream is idle.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connects to a server that presents exactly one SPIFFE ID, whatever its name in DNS.
#[derive(Clone, Debug)]
pub struct ClientTls {
    server: SpiffeId,
    bundles: Arc<BundleSlot>,
    identity: Option<Arc<IdentitySlot>>,
    believes: Believes,
    provider: Arc<CryptoProvider>,
}

impl ClientTls {
    /// Expects `server`, verified against the bundles in a slot; presents the SVID in a slot, or none.
    pub fn new(server: SpiffeId, bundles: Arc<BundleSlot>, identity: Option<Arc<IdentitySlot>>) -> Self {
        Self { server, bundles, identity, believes: Believes::Bundles, provider: tls_profile::provider() }
    }

    /// Where every authority in the slot has expired, also takes a server whose CA one of them named as its successor: for a node that was
    /// away for long, to attest again.
    #[must_use]
    pub fn or_successor(self) -> Self {
        Self { believes: Believes::BundlesOrSuccessor, ..self }
    }

    /// A channel to `host:port` whose first connection stands. It connects anew by itself, with what is in the slots by then.
    /// Why it could not connect is told by `connect_error`.
    pub async fn connect(&self, address: &str) -> Result<Channel, ConnectError> {
        let address = Address::parse(address)?;
        let connected = endpoint(&address)?.connect_with_connector(self.connector(address.clone())).await;
        connected.map_err(|source| ConnectError::Channel { address: address.authority.to_string(), source })
    }

    /// Like `connect`, but the first call connects, and fails where that fails.
    pub fn connect_lazy(&self, address: &str) -> Result<Channel, ConnectError> {
        let address = Address::parse(address)?;
        Ok(endpoint(&address)?.connect_with_connector_lazy(self.connector(address.clone())))
    }

    fn connector(
        &self,
        address: Address,
    ) -> impl tower::Service<
        http::Uri,
        Response = TokioIo<TlsStream<TcpStream>>,
        Error = ConnectError,
        Future: Send + 'static,
    > + Send
    + 'static {
        let tls = self.clone();
        service_fn(move |_| {
            let (tls, address) = (tls.clone(), address.clone());
            async move { tls.handshake(&address).await.map(TokioIo::new) }
        })
    }

    async fn handshake(&self, address: &Address) -> Result<TlsStream<TcpStream>, ConnectError> {
        let text = || address.authority.to_string();
        let verifier = PeerVerifier::new(&self.bundles, Some(self.server.clone()), self.believes, &self.provider);
        let config = self
            .config(&verifier)
            .map_err(|error| ConnectError::Tls { address: text(), source: io::Error::other(error) })?;
        let shaken = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((address.host.as_str(), address.port))
                .await
                .map_err(|source| ConnectError::Tcp { address: text(), source })?;
            // Only latency is lost where this fails.
            let _ = stream.set_nodelay(true);
            let connected = TlsConnector::from(Arc::new(config)).connect(address.server_name.clone(), stream).await;
            match (connected, verifier.take_verdict()) {
                (Ok(stream), Some(Ok(_))) => Ok(stream),
                (_, Some(Err(refused))) => Err(ConnectError::Refused { address: text(), source: refused }),
                (Err(source), _) => Err(ConnectError::Tls { address: text(), source }),
                (Ok(_), None) => {
                    let source = io::Error::other("the server presented no certificate");
                    Err(ConnectError::Tls { address: text(), source })
                }
            }
        });
        shaken.await.map_err(|_| ConnectError::TimedOut { address: text() })?
    }

    fn config(&self, verifier: &Arc<PeerVerifier>) -> Result<ClientConfig, rustls::Error> {
        let builder = tls_profile::client(&self.provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<_>);
        Ok(tls_profile::finish_client(match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity) as Arc<_>),
            None => builder.with_no_client_auth(),
        }))
    }
}

fn endpoint(address: &Address) -> Result<Endpoint, ConnectError> {
    // The scheme is http because TLS is the connector's business: tonic would insist on its own otherwise.
    let endpoint = Endpoint::from_shared(format!("http://{}", address.authority))
        .map_err(|source| ConnectError::Channel { address: address.authority.to_string(), source })?;
    Ok(endpoint
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[derive(Clone)]
struct Address {
    authority: Authority,
    host: String,
    port: u16,
    server_name: ServerName<'static>,
}

impl Address {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError { address: text.to_owned() };
        let authority: Authority = text.parse().map_err(|_| malformed())?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(malformed)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || text.contains('@') {
            return Err(malformed());
        }
        let server_name = ServerName::try_from(host.clone()).map_err(|_| malformed())?;
        Ok(Self { authority, host, port, server_name })
    }
}

/// Not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server address {address:?} is not of the form host:port")]
pub struct AddressError {
    /// The input.
    pub address: String,
}

/// Why a connection does not stand.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `host:port`.
    #[error("the server can't be dialled")]
    Address(#[from] AddressError),
    /// Name resolution or TCP.
    #[error("can't reach {address}")]
    Tcp {
        /// The server.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server's certificate is not the one that was expected.
    #[error("the server at {address} is refused")]
    Refused {
        /// The server.
        address: String,
        /// Why.
        source: PeerRefused,
    },
    /// The handshake failed otherwise; the server may have refused our certificate.
    #[error("TLS handshake with {address} failed")]
    Tls {
        /// The server.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No connection in time.
    #[error("no connection to {address} within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut {
        /// The server.
        address: String,
    },
    /// HTTP/2 could not begin, or one of the above: `connect_error` finds it.
    #[error("no channel to {address}")]
    Channel {
        /// The server.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// The innermost reason why a connection failed, from the error of `ClientTls::connect` or the status of a call.
pub fn connect_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ConnectError> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = error.downcast_ref().or(found);
        next = error.source();
    }
    found
}
