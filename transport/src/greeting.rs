//! How long a connection may live before its client has said that it speaks HTTP/2. Without it a client that connects and says nothing holds
//! its place for ever: HTTP/2's own timers begin after its preface (RFC 9113, section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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

    /// An error where the time is over; before each read, which it wakes.
    pub(crate) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(awaited) = &mut self.0 else { return Ok(()) };
        match awaited.end.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not say that it speaks HTTP/2"))
            }
            Poll::Pending => Ok(()),
        }
    }

    /// So many bytes more were read.
    pub(crate) fn heard(&mut self, len: usize) {
        if let Some(awaited) = &mut self.0 {
            awaited.missing = awaited.missing.saturating_sub(len);
            if awaited.missing == 0 {
                self.0 = None;
            }
        }
    }
}
