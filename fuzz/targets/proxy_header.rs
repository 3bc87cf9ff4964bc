//! What comes before TLS from a load balancer: the header of the PROXY protocol. It is never more than was asked for, the bytes behind it
//! stay, and the address is one that stands in it.
#![no_main]

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use plastron_transport::read_proxy_header;

/// The longest that is read: the fixed part of version 2, and 4096 bytes.
const MAX_LEN: usize = 16 + 4096;

fn read(mut bytes: &[u8]) -> (Option<Option<SocketAddr>>, usize) {
    let before = bytes.len();
    // A slice never waits.
    let read = match pin!(read_proxy_header(&mut bytes)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read.ok(),
        Poll::Pending => unreachable!("a slice waits for nothing"),
    };
    (read, before - bytes.len())
}

fuzz_target!(|bytes: &[u8]| {
    let (address, length) = read(bytes);
    assert!(length <= MAX_LEN, "read {length} bytes");
    let Some(address) = address else { return };
    let (header, _) = bytes.split_at(length);
    assert_eq!(read(header), (Some(address), length), "what is behind a header changes nothing");
    assert!(header.starts_with(b"PROXY") || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"), "no header at all");
    if let (Some(address), true) = (address, header.starts_with(b"PROXY")) {
        let text = std::str::from_utf8(header).expect("a line with an address is text");
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        assert_eq!(words.get(2).and_then(|word| word.parse().ok()), Some(address.ip()));
        assert_eq!(words.get(4).and_then(|word| word.parse().ok()), Some(address.port()));
    }
});
