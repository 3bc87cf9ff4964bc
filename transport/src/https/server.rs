//! A listener for HTTPS. A bundle endpoint's asks for no client certificate (SPIFFE_Federation.md, 5.2.1.3 and 5.2.2.3), and no one is known
//! before a handshake, so whoever connects is a stranger: connections are few, in all and for one address, and each ends in bounded time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ResolvesServerCert, VerifierBuilderError};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::CertificateSlot;
use super::client::HttpsStream;
use super::clients::HttpsClients;
use crate::places::{Places, holder};
use crate::tls::{FIRST_BYTE_TIMEOUT, HANDSHAKE_TIMEOUT, IdentitySlot};
use crate::tls_profile;

/// Most connections at a time. Peers ask a few times in five minutes and are gone in milliseconds.
pub const MAX_HTTPS_CONNECTIONS: usize = 512;
/// Most connections at a time from one address, so that no one takes them all from the others.
pub const MAX_HTTPS_CONNECTIONS_OF_ADDRESS: usize = 64;
/// How long a connection may live after its handshake: a document of some KiB needs seconds on the slowest link.
const LIFETIME: Duration = Duration::from_secs(20);
/// How long what is under way when the listener ends may still take: strangers who say nothing hold up no one's stop for longer.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Pause after a failed accept: most often the process is out of file descriptors, and that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// rustls refuses what this program wants of it.
#[derive(Debug, thiserror::Error)]
#[error("TLS can't be configured")]
pub enum TlsConfigError {
    /// Versions and suites.
    Parameters(#[from] rustls::Error),
    /// Who certifies clients.
    Clients(#[from] VerifierBuilderError),
}

/// What a listener presents, and whom it lets in.
#[derive(Clone, Debug)]
pub struct HttpsServerTls(Arc<ServerConfig>);

impl HttpsServerTls {
    /// `https_spiffe`: the SVID in a slot.
    pub fn presenting_svid(identity: Arc<IdentitySlot>) -> Result<Self, TlsConfigError> {
        Self::new(identity, HttpsClients::Anyone)
    }

    /// `https_web`: the certificate in a slot.
    pub fn presenting_certificate(certificate: Arc<CertificateSlot>) -> Result<Self, TlsConfigError> {
        Self::new(certificate, HttpsClients::Anyone)
    }

    /// A certificate for these clients.
    pub fn new(certificate: Arc<dyn ResolvesServerCert>, clients: HttpsClients) -> Result<Self, TlsConfigError> {
        let provider = tls_profile::provider();
        let config = tls_profile::server(&provider)?;
        let config = match clients.verifier(provider)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let config = config.with_cert_resolver(certificate);
        Ok(Self(Arc::new(tls_profile::finish_https_server(config))))
    }
}

/// Tells what a connection's handshake is made with; nothing where the program has nothing to present yet.
pub type TlsNow = Arc<dyn Fn() -> Option<HttpsServerTls> + Send + Sync>;

impl From<HttpsServerTls> for TlsNow {
    fn from(tls: HttpsServerTls) -> Self {
        Arc::new(move || Some(tls.clone()))
    }
}

/// Hands each connection to `serve` after its handshake, until `ended` is cancelled; then waits for those that are under way, but no
/// longer than 2 seconds. `serve` is dropped, and the connection with it, where it takes more than 20 seconds. The log calls the listener
/// `what`.
pub async fn serve_https<S, F>(
    what: &'static str,
    listener: TcpListener,
    tls: TlsNow,
    ended: CancellationToken,
    serve: S,
) where
    S: Fn(Box<dyn HttpsStream>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (places, tasks) = (Places::new(MAX_HTTPS_CONNECTIONS, MAX_HTTPS_CONNECTIONS_OF_ADDRESS), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection to {what}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without a place the connection is closed at once, so that others need not wait behind it.
        let Some(place) = places.take(holder(address.ip())) else {
            if places.is_news() {
                tracing::warn!(%address, "connections to {what} refused: too many");
            }
            continue;
        };
        let (tls, serve, ended) = (Arc::clone(&tls), serve.clone(), ended.clone());
        tasks.spawn(async move {
            let _place = place;
            let Some(tls) = tls() else { return };
            let served = async {
                match shake_hands(&tls, stream).await {
                    Ok(stream) => drop(tokio::time::timeout(LIFETIME, serve(stream)).await),
                    Err(error) => tracing::info!(%address, %error, "TLS handshake at {what} failed"),
                }
            };
            let last_answers = async {
                ended.cancelled().await;
                tokio::time::sleep(LAST_ANSWERS).await;
            };
            tokio::select! {
                () = served => {}
                () = last_answers => {}
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn shake_hands(HttpsServerTls(config): &HttpsServerTls, stream: TcpStream) -> io::Result<Box<dyn HttpsStream>> {
    let too_long = |_elapsed| io::Error::from(io::ErrorKind::TimedOut);
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    // A look at the byte itself: `readable` may say yes before there is one.
    tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut [0])).await.map_err(too_long)??;
    let accepted = TlsAcceptor::from(Arc::clone(config)).accept(stream);
    Ok(Box::new(tokio::time::timeout(HANDSHAKE_TIMEOUT, accepted).await.map_err(too_long)??))
}
