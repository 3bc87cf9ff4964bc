//! How long a connection may live before its client has said that it speaks HTTP/2. Without it a client that connects and says nothing holds
//! its place for ever: HTTP/2's own timers begin after its preface (RFC 9113, section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// How long the preface may take: an honest client's follows its connection at once.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// `PRI * HTTP/2.0 …`, in bytes.
const PREFACE_LEN: usize = 24;

/// The time of a connection's preface. Costs nothing once it is over.
#[derive(Debug)]
pub(crate) struct Greeting(Option<Awaited>);

#[derive(Debug)]
struct Awaited {
    missing: usize,
    end: Pin<Box<Sleep>>,
}

impl Greeting {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self(Some(Awaited { missing: PREFACE_LEN, end: Box::pin(tokio::time::sleep(PREFACE_TIMEOUT)) }))
    }

    /// Reads. An error where the time is over and the client has said nothing more: what it said in time counts, however late a busy server
    /// comes to read it, and there are so few bytes that no one gains by it.
    pub(crate) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = stream.poll_read(cx, buf) {
            self.heard(buf.filled().len().saturating_sub(before));
            return Poll::Ready(read);
        }
        let Some(awaited) = &mut self.0 else { return Poll::Pending };
        ready!(awaited.end.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not say that it speaks HTTP/2")))
    }

    fn heard(&mut self, len: usize) {
        if let Some(awaited) = &mut self.0 {
            awaited.missing = awaited.missing.saturating_sub(len);
            if awaited.missing == 0 {
                self.0 = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    struct Greeted(DuplexStream, Greeting);

    impl AsyncRead for Greeted {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Self(stream, greeting) = self.get_mut();
            greeting.poll_read(Pin::new(stream), cx, buf)
        }
    }

    /// A server that is too busy to read cuts no one off who spoke in time.
    #[tokio::test(start_paused = true)]
    async fn a_preface_that_came_in_time_counts_however_late_it_is_read() {
        let (mut client, server) = duplex(64);
        let mut greeted = Greeted(server, Greeting::begin());
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        tokio::time::sleep(PREFACE_TIMEOUT * 2).await;
        greeted.read_exact(&mut [0; PREFACE_LEN]).await.unwrap();
        client.write_all(b"more").await.unwrap();
        greeted.read_exact(&mut [0; 4]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_one_by_one_win_no_time() {
        let (mut client, server) = duplex(64);
        let mut greeted = Greeted(server, Greeting::begin());
        let begun = tokio::time::Instant::now();
        tokio::spawn(async move {
            while client.write_all(b"P").await.is_ok() {
                tokio::time::sleep(PREFACE_TIMEOUT / 8).await;
            }
        });
        let error = greeted.read_exact(&mut [0; PREFACE_LEN]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < PREFACE_TIMEOUT * 2);
    }
}
