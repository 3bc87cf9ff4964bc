//! The accept loop of a TLS listener. Handshakes run beside each other, each with a deadline, so that a slow peer delays no one.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
use crate::places::{Place, Places};

/// Most handshakes at a time. One that waits for its peer costs a socket and some KiB; those that compute are as many as there are cores.
pub const MAX_HANDSHAKES: usize = 4096;
/// Most handshakes at a time from one address: a fleet behind one router has far fewer at once, and an attacker needs more addresses.
pub const MAX_HANDSHAKES_OF_ADDRESS: usize = 1024;
/// How long a handshake may take: an honest peer on a slow link needs three round trips.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time: each agent keeps one or two, at about 60 KiB each.
pub const MAX_TLS_CONNECTIONS: usize = 20_000;
/// Most connections at a time from one address, so that no one takes them all from the others.
pub const MAX_TLS_CONNECTIONS_OF_ADDRESS: usize = 10_000;
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
    _place: Place<IpAddr>,
}

/// The stream for `Server::serve_with_incoming_shutdown`. It ends when it is dropped. Refused handshakes are logged and are not items.
pub fn tls_incoming(listener: TcpListener, tls: ServerTls) -> ReceiverStream<io::Result<TlsConnection>> {
    let (ready, incoming) = mpsc::channel(READY);
    tokio::spawn(accept_loop(listener, tls, ready));
    ReceiverStream::new(incoming)
}

async fn accept_loop(listener: TcpListener, tls: ServerTls, ready: mpsc::Sender<io::Result<TlsConnection>>) {
    let handshakes = Places::new(MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ADDRESS);
    let connections = Places::new(MAX_TLS_CONNECTIONS, MAX_TLS_CONNECTIONS_OF_ADDRESS);
    let next = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // Without a place the connection is closed at once, so that others need not wait behind it.
                    let holder = holder(address.ip());
                    let (Some(place), Some(handshake)) = (connections.take(holder), handshakes.take(holder)) else {
                        if handshakes.is_news() {
                            tracing::warn!(%address, "TLS connections refused: too many");
                        }
                        continue;
                    };
                    let (tls, ready) = (tls.clone(), ready.clone());
                    tokio::spawn(async move {
                        let connection = shake_hands(&tls, stream, address, place).await;
                        drop(handshake);
                        if let Some(connection) = connection {
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

/// Whoever has one IPv6 address has the 2^64 of its network.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

async fn shake_hands(
    tls: &ServerTls,
    stream: TcpStream,
    address: SocketAddr,
    place: Place<IpAddr>,
) -> Option<TlsConnection> {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let Ok((accepted, verdict)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else {
        tracing::info!(%address, "TLS handshake took too long");
        return None;
    };
    match (accepted, verdict) {
        (Ok(stream), None) => Some(TlsConnection { stream, peer: TlsPeer { address, svid: None }, _place: place }),
        (Ok(stream), Some(Ok(svid))) => {
            Some(TlsConnection { stream, peer: TlsPeer { address, svid: Some(svid) }, _place: place })
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

impl Connected for TlsConnection {
    type ConnectInfo = TlsPeer;

    fn connect_info(&self) -> TlsPeer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
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
