//! Accepts any `:authority` on Unix sockets.
//!
//! C-core (Python, C++, Ruby), Java on netty and old Go clients send the socket's path, which h2 refuses before a handler runs. This
//! adapter stands between socket and h2 and overwrites, in the bytes that the client sent, each forbidden character of a literal
//! `:authority` by an allowed one whose encoding has the same length: `tmp%2Fx.sock` becomes `tmp-2Fx.sock`. So no length changes, and
//! h2's own HPACK table (RFC 7541) stays what the client believes it to be. What is not understood passes unchanged, and h2 answers as
//! it would without the adapter. Handlers see the changed value: it is good for nothing but being valid.
//!
//! Deliberately not done: names that are a reference into the dynamic table, empty values with incremental indexing or split over
//! several frames, and Huffman codes of 12 bits and more; no known client sends them. Not for TCP, where h2 should stay strict.

mod filter;
mod hpack;
mod huffman;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use filter::Filter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection from whose header blocks invalid `:authority` values are gone.
#[derive(Debug)]
pub struct AuthorityPatch<S> {
    stream: S,
    filter: Filter,
    /// Bytes that were held back and may now be read.
    released: Vec<u8>,
    read: usize,
    ended: bool,
}

impl<S> AuthorityPatch<S> {
    /// Around a server's connection, from its first byte on.
    pub fn new(stream: S) -> Self {
        Self { stream, filter: Filter::default(), released: Vec::new(), read: 0, ended: false }
    }

    fn take_released(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.released.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let now = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(now);
        self.read += now.len();
        if self.read == self.released.len() {
            // The memory is given back: most connections need it never again.
            (self.released, self.read) = (Vec::new(), 0);
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AuthorityPatch<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if buf.remaining() == 0 || this.take_released(buf) || this.ended {
                return Poll::Ready(Ok(()));
            }
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let received = buf.filled_mut().get_mut(start..).unwrap_or_default();
            if received.is_empty() {
                this.ended = true;
                this.filter.end(&mut this.released);
                continue;
            }
            let passed = this.filter.pass(received);
            if let Some(rest) = received.get_mut(passed..).filter(|rest| !rest.is_empty()) {
                this.filter.gather(rest, &mut this.released);
                buf.set_filled(start + passed);
            }
            // Nothing read means the end of the stream to h2, so with all bytes held back the socket is asked again.
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AuthorityPatch<S> {
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

impl<S: tonic::transport::server::Connected> tonic::transport::server::Connected for AuthorityPatch<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests;
