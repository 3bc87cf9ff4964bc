//! A TCP listener that neither many nor slow clients can exhaust: probes and scrapes are few and short.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::serve::Listener;
use plastron_transport::{Place, Places, holder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// Connections at a time: each costs a file descriptor that the program itself may need.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Connections at a time from one address, so that no one takes them all from the others.
pub(crate) const MAX_CONNECTIONS_OF_ADDRESS: usize = 16;
/// How long a connection may say nothing: a client's first bytes follow its connection at once.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live: longer than any check takes, so that whoever reads or writes slowly makes room for others.
const LIFETIME: Duration = Duration::from_secs(20);
/// How long to wait after an accept that failed, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes so many connections at a time, each for a bounded time. Those beyond are closed at once, so that others need not wait behind them.
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Places<IpAddr>>,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ADDRESS) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.places.take(holder(address.ip())) {
                    Some(place) => return (Connection::new(stream, place), address),
                    None => tracing::debug!(%address, "A connection to a listener for probes was refused: too many"),
                },
                Err(error) => {
                    tracing::warn!(%error, "A listener for probes can't accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One answer for a connection: a scrape that finds one still open could meet its end in mid-answer.
pub(crate) fn one_answer(routes: Router) -> Router {
    routes.layer(map_response(|mut answer: Response| async {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }))
}

/// A connection that fails when its time is over.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The deadline of its first byte, then that of all of it.
    end: Pin<Box<Sleep>>,
    is_silent: bool,
    _place: Place<IpAddr>,
}

impl Connection {
    fn new(stream: TcpStream, place: Place<IpAddr>) -> Self {
        let end = Box::pin(tokio::time::sleep(FIRST_BYTE_TIMEOUT));
        Self { stream, end, is_silent: true, _place: place }
    }

    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before && std::mem::take(&mut self.is_silent) {
            self.end.as_mut().reset(tokio::time::Instant::now() + LIFETIME);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
