//! The accept loop of a TLS listener. Handshakes run beside each other, each with a deadline, so that a slow peer delays no one. Whom a load
//! balancer speaks for is known by its own address from then on, here and in everything above.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use plastron_spiffe::x509::VerifiedSvid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::ServerTls;
use super::proxied::{TrustedProxies, read_proxy_header};
use crate::greeting::Greeting;
use crate::places::{Place, Places, holder};

/// Most handshakes at a time. One that waits for its peer costs a socket and some KiB; those that compute are as many as there are cores.
pub const MAX_HANDSHAKES: usize = 4096;
/// Most handshakes at a time from one address: a fleet behind one router has far fewer at once, and an attacker needs more addresses.
pub const MAX_HANDSHAKES_OF_ADDRESS: usize = 1024;
/// How long a connection may be silent before its handshake takes a place: an honest peer's first bytes follow its connection at once, and
/// may be lost once or twice.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a handshake may take: an honest peer on a slow link needs three round trips.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time: each agent keeps one or two, at about 60 KiB each.
pub const MAX_TLS_CONNECTIONS: usize = 20_000;
/// Most connections at a time from one address, so that no one takes them all from the others.
pub const MAX_TLS_CONNECTIONS_OF_ADDRESS: usize = 10_000;
/// Most of these that are without a certificate. They serve a first attestation and are gone after it; agents have the rest.
pub const MAX_ANONYMOUS_CONNECTIONS: usize = 4096;
/// Most of these from one address: at one attestation a second some 60 wait for their turn.
pub const MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS: usize = 256;
/// Connections that are ready and not yet taken by the server.
const READY: usize = 128;
/// Pause after a failed accept: most often the process is out of file descriptors, and that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a TLS connection. Found in the extensions of a request.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// The remote address.
    pub address: SocketAddr,
    /// The X.509-SVID that the peer proved to hold, if it presented one.
    pub svid: Option<Arc<VerifiedSvid>>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: TlsPeer,
    greeting: Greeting,
    /// Among all, and among those without a certificate if it is one.
    _places: (Place<IpAddr>, Option<Place<IpAddr>>),
}

/// The stream for `Server::serve_with_incoming_shutdown`. It ends when it is dropped. Refused handshakes are logged and are not items.
pub fn tls_incoming(
    listener: TcpListener,
    tls: ServerTls,
    proxies: TrustedProxies,
) -> ReceiverStream<io::Result<TlsConnection>> {
    let (ready, incoming) = mpsc::channel(READY);
    tokio::spawn(accept_loop(listener, tls, proxies, ready));
    ReceiverStream::new(incoming)
}

/// What connections share.
struct Door {
    tls: ServerTls,
    proxies: TrustedProxies,
    connections: Arc<Places<IpAddr>>,
    handshakes: Arc<Places<IpAddr>>,
    anonymous: Arc<Places<IpAddr>>,
}

async fn accept_loop(
    listener: TcpListener,
    tls: ServerTls,
    proxies: TrustedProxies,
    ready: mpsc::Sender<io::Result<TlsConnection>>,
) {
    let door = Arc::new(Door {
        tls,
        proxies,
        connections: Places::new(MAX_TLS_CONNECTIONS, MAX_TLS_CONNECTIONS_OF_ADDRESS),
        handshakes: Places::new(MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ADDRESS),
        anonymous: Places::new(MAX_ANONYMOUS_CONNECTIONS, MAX_ANONYMOUS_CONNECTIONS_OF_ADDRESS),
    });
    let next = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // Without a place the connection is closed at once, so that others need not wait behind it.
                    let Some(place) = take(&door.connections, address, "TLS connections refused: too many") else {
                        continue;
                    };
                    let (door, ready) = (Arc::clone(&door), ready.clone());
                    tokio::spawn(async move {
                        if let Some(connection) = door.shake_hands(stream, address, place).await {
                            // Fails where the server is gone, and then so is the connection.
                            let _ = ready.send(Ok(connection)).await;
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a TLS connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = next => {}
        () = ready.closed() => {}
    }
}

fn take(places: &Arc<Places<IpAddr>>, address: SocketAddr, refused: &str) -> Option<Place<IpAddr>> {
    let place = places.take(holder(address.ip()));
    if place.is_none() && places.is_news() {
        tracing::warn!(%address, "{refused}");
    }
    place
}

/// A look at the byte itself: `readable` may say yes before there is one.
async fn first_byte(stream: &TcpStream, address: SocketAddr) -> Option<u8> {
    let mut first = [0];
    let Ok(Ok(1..)) = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)).await else {
        tracing::info!(%address, "TLS peer said nothing");
        return None;
    };
    let [first] = first;
    Some(first)
}

impl Door {
    /// The peer, or whom it speaks for, who then holds the connection's place: a load balancer has as many connections as all its clients.
    async fn whose(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        first: u8,
        place: Place<IpAddr>,
    ) -> Option<(SocketAddr, Place<IpAddr>)> {
        let header = async {
            match self.proxies.expects_header(peer, first) {
                Ok(false) => Ok(None),
                Ok(true) => read_proxy_header(stream).await.map(Some),
                Err(refused) => Err(refused),
            }
        };
        let client = match tokio::time::timeout(FIRST_BYTE_TIMEOUT, header).await {
            Ok(Ok(None)) => return Some((peer, place)),
            Ok(Ok(Some(client))) => client.unwrap_or(peer),
            Ok(Err(error)) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(address = %peer, %error, %reason, "connection refused");
                return None;
            }
            Err(_elapsed) => {
                tracing::info!(address = %peer, "PROXY protocol header took too long");
                return None;
            }
        };
        let of_client = take(&self.connections, client, "TLS connections refused: too many")?;
        // From here on whoever says nothing takes no place of the balancer's.
        drop(place);
        first_byte(stream, client).await?;
        Some((client, of_client))
    }

    async fn shake_hands(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        place: Place<IpAddr>,
    ) -> Option<TlsConnection> {
        // Only latency is lost where this fails.
        let _ = stream.set_nodelay(true);
        let first = first_byte(&stream, address).await?;
        let (address, place) = self.whose(&mut stream, address, first, place).await?;
        let handshake = take(&self.handshakes, address, "TLS handshakes refused: too many")?;
        let Ok((accepted, verdict)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await else {
            tracing::info!(%address, "TLS handshake took too long");
            return None;
        };
        drop(handshake);
        match (accepted, verdict) {
            (Ok(stream), None) => {
                let anonymous =
                    take(&self.anonymous, address, "TLS connections without certificate refused: too many")?;
                let peer = TlsPeer { address, svid: None };
                Some(TlsConnection { stream, peer, greeting: Greeting::begin(), _places: (place, Some(anonymous)) })
            }
            (Ok(stream), Some(Ok(svid))) => {
                let peer = TlsPeer { address, svid: Some(svid) };
                Some(TlsConnection { stream, peer, greeting: Greeting::begin(), _places: (place, None) })
            }
            (_, Some(Err(refused))) => {
                let reason = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%address, error = %refused, reason = %reason.escape_debug(), "client certificate refused");
                None
            }
            (Err(error), _) => {
                tracing::info!(%address, %error, "TLS handshake failed");
                None
            }
        }
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = TlsPeer;

    fn connect_info(&self) -> TlsPeer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.greeting.poll_read(Pin::new(&mut this.stream), cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
