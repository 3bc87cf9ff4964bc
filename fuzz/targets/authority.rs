//! The adapter that makes any `:authority` acceptable. However the bytes are cut, the same comes out; nothing is added; what it
//! has patched it leaves alone.
#![no_main]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use plastron_transport::AuthorityPatch;
use tokio::io::{AsyncRead, ReadBuf};

/// Gives its bytes in pieces of at most `piece`.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.piece.min(self.rest.len()).min(buffer.remaining());
        let (now, rest) = self.rest.split_at(count);
        buffer.put_slice(now);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn patched(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut stream = AuthorityPatch::new(Pieces { rest: bytes, piece });
    let mut context = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    let mut space = [0; 4096];
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return out,
            Poll::Ready(Ok(())) => out.extend_from_slice(buffer.filled()),
            other => panic!("a stream in memory neither fails nor waits: {other:?}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = patched(bytes, 4096);
    assert!(whole.len() <= bytes.len(), "bytes were added");
    for piece in [1, 3, 17] {
        assert_eq!(patched(bytes, piece), whole, "pieces of {piece}");
    }
    assert_eq!(patched(&whole, 4096), whole, "patched twice");
});
