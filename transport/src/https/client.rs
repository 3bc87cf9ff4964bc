//! The client's side: a TLS connection to a bundle endpoint, whose server is authenticated by exactly one of the two profiles.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::{Bundle, SpiffeId};
use rustls::ClientConfig;
use rustls::client::VerifierBuilderError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::web::{WebRoots, WebVerifier};
use crate::tls::{Believes, PeerVerifier};
use crate::tls_profile;
use crate::{BundleSlot, PeerRefused};

/// How long TCP and TLS handshake together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection after its handshake.
pub trait HttpsStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> HttpsStream for S {}

/// How the server of an endpoint is authenticated. There is no third way, and no way around.
#[derive(Clone, Debug)]
pub enum HttpsClientTls {
    /// `https_web`: a chain to one of these roots, for the name that is dialled.
    Web(WebRoots),
    /// `https_spiffe`: a valid X.509-SVID with this ID, verified against the bundle of its trust domain; the name that is dialled does not
    /// matter.
    Spiffe {
        /// Who it must be.
        server: SpiffeId,
        /// The bundle of its trust domain.
        bundle: Bundle,
    },
}

impl HttpsClientTls {
    /// Connects and shakes hands. `host` is a DNS name or an IP address without brackets. No certificate of ours is presented: the
    /// specification forbids endpoints to ask for one.
    pub async fn connect(&self, host: &str, port: u16) -> Result<impl HttpsStream + use<>, HttpsConnectError> {
        let address = || format!("{host}:{port}");
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_invalid| HttpsConnectError::Host { host: host.to_owned() })?;
        let shaken = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((host, port))
                .await
                .map_err(|source| HttpsConnectError::Tcp { address: address(), source })?;
            // Only latency is lost where this fails.
            let _ = stream.set_nodelay(true);
            match self {
                Self::Web(roots) => shake_hands_by_name(roots, name, stream, address()).await,
                Self::Spiffe { server, bundle } => shake_hands_by_id(server, bundle, name, stream, address()).await,
            }
        });
        shaken.await.map_err(|_elapsed| HttpsConnectError::TimedOut { address: address() })?
    }
}

async fn shake_hands_by_name(
    roots: &WebRoots,
    name: ServerName<'static>,
    stream: TcpStream,
    address: String,
) -> Result<TlsStream<TcpStream>, HttpsConnectError> {
    let verifier = WebVerifier::new(roots)?;
    let config = tls_profile::client(&tls_profile::provider())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>)
        .with_no_client_auth();
    connect(config, name, stream).await.map_err(|source| match verifier.claimed_id() {
        Some(id) => HttpsConnectError::WrongProfile { address, id, source },
        None => HttpsConnectError::Tls { address, source },
    })
}

async fn shake_hands_by_id(
    server: &SpiffeId,
    bundle: &Bundle,
    name: ServerName<'static>,
    stream: TcpStream,
    address: String,
) -> Result<TlsStream<TcpStream>, HttpsConnectError> {
    let provider = tls_profile::provider();
    let bundles = BundleSlot::new([bundle.clone()]);
    let verifier = PeerVerifier::new(&bundles, Some(server.clone()), Believes::Bundles, &provider);
    let config = tls_profile::client(&provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>)
        .with_no_client_auth();
    let connected = connect(config, name, stream).await;
    match (connected, verifier.take_verdict()) {
        (Ok(stream), Some(Ok(_proof))) => Ok(stream),
        (_, Some(Err(source))) => Err(HttpsConnectError::Refused { address, source }),
        (Err(source), _) => Err(HttpsConnectError::Tls { address, source }),
        (Ok(_), None) => {
            let source = io::Error::other("the server presented no certificate");
            Err(HttpsConnectError::Tls { address, source })
        }
    }
}

async fn connect(
    config: ClientConfig,
    name: ServerName<'static>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::new(tls_profile::finish_https_client(config))).connect(name, stream).await
}

/// Why a connection to an endpoint does not stand.
#[derive(Debug, thiserror::Error)]
pub enum HttpsConnectError {
    /// Neither a DNS name nor an IP address.
    #[error("{host:?} is neither a DNS name nor an IP address")]
    Host {
        /// The input.
        host: String,
    },
    /// Name resolution or TCP.
    #[error("can't reach {address}")]
    Tcp {
        /// The server.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// `https_spiffe`: not a valid SVID, or someone else's.
    #[error("the server at {address} is refused")]
    Refused {
        /// The server.
        address: String,
        /// Why.
        source: PeerRefused,
    },
    /// `https_web`, and the certificate that was refused is an X.509-SVID.
    #[error(
        "failed to authenticate bundle endpoint {address} using web authentication but the server certificate contains SPIFFE ID \
         \"{id}\": maybe use https_spiffe instead of https_web"
    )]
    WrongProfile {
        /// The server.
        address: String,
        /// What its certificate claims.
        id: SpiffeId,
        /// What the handshake said.
        source: io::Error,
    },
    /// The handshake failed otherwise; `https_web`: also a certificate that is not of that name or of no trusted authority.
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
    /// A configuration that rustls refuses.
    #[error("TLS can't be used")]
    Config(#[from] rustls::Error),
    /// Roots that rustls refuses.
    #[error("the roots of the web PKI can't be used")]
    Roots(#[from] VerifierBuilderError),
}
