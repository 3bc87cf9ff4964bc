//! The accept loop of a TLS listener. Handshakes run beside each other, each with a deadline, so that a slow peer delays no one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use plastron_spiffe::x509::VerifiedSvid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::ServerTls;

/// Most handshakes at a time: each costs about 0.4 ms of CPU, so that many are a tenth of a second of work on one core.
pub const MAX_HANDSHAKES: usize = 256;
/// How long a handshake may take: an honest peer on a slow link needs three round trips.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time: each agent keeps one or two, at about 60 KiB each.
pub const MAX_TLS_CONNECTIONS: usize = 20_000;
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
    _slot: OwnedSemaphorePermit,
}

/// The stream for `Server::serve_with_incoming_shutdown`. It ends when it is dropped. Refused handshakes are logged and are not items.
pub fn tls_incoming(listener: TcpListener, tls: ServerTls) -> ReceiverStream<io::Result<TlsConnection>> {
    let (ready, incoming) = mpsc::channel(READY);
    tokio::spawn(accept_loop(listener, tls, ready));
    ReceiverStream::new(incoming)
}

async fn accept_loop(listener: TcpListener, tls: ServerTls, ready: mpsc::Sender<io::Result<TlsConnection>>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let connections = Arc::new(Semaphore::new(MAX_TLS_CONNECTIONS));
    let next = async {
        loop {
            // The semaphores are never closed.
            let Ok(slot) = Arc::clone(&connections).acquire_owned().await else { return };
            let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => {
                    let (tls, ready) = (tls.clone(), ready.clone());
                    tokio::spawn(async move {
                        let connection = shake_hands(&tls, stream, address, slot).await;
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

async fn shake_hands(
    tls: &ServerTls,
    stream: TcpStream,
    address: SocketAddr,
    slot: OwnedSemaphorePermit,
) -> Option<TlsConnection> {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let Ok((accepted, verdict)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else {
        tracing::info!(%address, "TLS handshake took too long");
        return None;
    };
    match (accepted, verdict) {
        (Ok(stream), None) => Some(TlsConnection { stream, peer: TlsPeer { address, svid: None }, _slot: slot }),
        (Ok(stream), Some(Ok(svid))) => {
            Some(TlsConnection { stream, peer: TlsPeer { address, svid: Some(svid) }, _slot: slot })
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
