//! The accept loop of a Unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::bind::SocketFile;
use super::{PeerCredentials, UnixSocket};
use crate::AuthorityPatch;
use crate::greeting::Greeting;
use crate::places::{Place, Places};

/// Most connections at a time on one socket: a node has some hundred workloads, each with one or two, and a connection holds two
/// file descriptors.
pub const MAX_UNIX_CONNECTIONS: usize = 4096;
/// Most connections at a time of one user, so that no user takes them all from the others.
pub const MAX_CONNECTIONS_OF_USER: usize = 1024;
/// Connections that are accepted and not yet taken by the server.
const READY: usize = 128;
/// Pause after a failed accept: most often the process is out of file descriptors, and that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection with its peer's credentials; any `:authority` is accepted on it.
#[derive(Debug)]
pub struct UnixConnection {
    stream: AuthorityPatch<UnixStream>,
    peer: PeerCredentials,
    greeting: Greeting,
    _place: Place<u32>,
}

impl UnixSocket {
    /// The stream for `Server::serve_with_incoming_shutdown`. When it is dropped the socket's file is removed.
    pub fn incoming(self) -> io::Result<ReceiverStream<io::Result<UnixConnection>>> {
        let (listener, file) = self.into_parts();
        let listener = UnixListener::from_std(listener)?;
        let (ready, incoming) = mpsc::channel(READY);
        tokio::spawn(async move {
            tokio::select! {
                () = accept_loop(&listener, &ready, &file) => {}
                () = ready.closed() => {}
            }
        });
        Ok(ReceiverStream::new(incoming))
    }
}

async fn accept_loop(listener: &UnixListener, ready: &mpsc::Sender<io::Result<UnixConnection>>, _file: &SocketFile) {
    let places = Places::new(MAX_UNIX_CONNECTIONS, MAX_CONNECTIONS_OF_USER);
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| Ok((PeerCredentials::of(&stream)?, stream)));
        let (peer, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection on a Unix socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.uid) else {
            if places.is_news() {
                tracing::warn!(uid = peer.uid, "connections refused: too many on this Unix socket");
            }
            continue;
        };
        let connection =
            UnixConnection { stream: AuthorityPatch::new(stream), peer, greeting: Greeting::begin(), _place: place };
        if ready.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

impl Connected for UnixConnection {
    type ConnectInfo = PeerCredentials;

    fn connect_info(&self) -> PeerCredentials {
        self.peer.clone()
    }
}

impl AsyncRead for UnixConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.greeting.poll_read(Pin::new(&mut this.stream), cx, buf)
    }
}

impl AsyncWrite for UnixConnection {
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
