//! Peers that speak HTTP/2 to wear a socket of the agent out: frame by frame, since no library would. Others are served meanwhile.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Longer than it takes; a server that lets a flood go on for ever fails the test and not the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who takes nothing for so long does not take the rest either.
const STALL: Duration = Duration::from_secs(2);
/// What a server may take in whose answers nobody reads: the buffers of the system, and its own.
const TAKEN: usize = 8 << 20;

/// A socket, and a method that answers there.
pub(crate) struct Target<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) method: &'static str,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Target<'_> {
    /// The head of a call, as HPACK without any table.
    fn head(&self) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let field = |name, value| [vec![0], text(name), text(value)].concat();
        let mut head = [&[0x83, 0x86, 0x04][..], &text(self.method), &[0x01], &text("localhost")].concat();
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers"), ("workload.spiffe.io", "true")]
        {
            head.extend(field(name, value));
        }
        head
    }

    async fn greeted(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        stream
    }

    /// CVE-2023-44487. Each reset makes room for the next stream, so that the limit of streams limits nothing.
    pub(crate) async fn resets(&self, others: impl AsyncFn()) {
        let head = self.head();
        let open_and_reset = move |n: u32| {
            let stream = 2 * n + 1;
            [frame(HEADERS, END_HEADERS, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        };
        let (told, ()) = tokio::join!(flood(self.greeted().await, open_and_reset), others());
        assert!(told);
        others().await;
    }

    /// CVE-2024-27316 and its like. A header list that never ends is held by no one.
    pub(crate) async fn endless_headers(&self, others: impl AsyncFn()) {
        let head = self.head();
        let (begun, begun_empty) = (frame(HEADERS, 0, 1, &head), frame(HEADERS, 0, 1, &head));
        let endless = move |n: u32| match n {
            0 => begun.clone(),
            // A literal field that is not indexed: "a: aaaa…".
            _ => frame(CONTINUATION, 0, 1, &[&[0x00, 1, b'a', 100][..], &[b'a'; 100]].concat()),
        };
        let empty = move |n: u32| match n {
            0 => begun_empty.clone(),
            _ => frame(CONTINUATION, 0, 1, &[]).repeat(100),
        };
        let (one, other) = (self.greeted().await, self.greeted().await);
        tokio::join!(flood(one, endless), flood(other, empty), others());
        others().await;
    }

    /// Answers that no one reads are not piled up: what asks for them is not read any more.
    pub(crate) async fn unread_answers(&self, others: impl AsyncFn()) {
        for payload in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
            let stream = self.greeted().await;
            let (taken, ()) = tokio::join!(taken(stream, payload.repeat(64)), others());
            assert!(taken < TAKEN, "{taken} bytes of {payload:?} were taken in");
        }
        others().await;
    }

    /// Calls whose messages never come hold their own connection and nothing else. More than the server answers at once on all of these.
    pub(crate) async fn trickling_calls(&self, others: impl AsyncFn()) {
        let mut held = Vec::new();
        for _ in 0..50 {
            let mut stream = self.greeted().await;
            for n in 0..60 {
                stream.write_all(&frame(HEADERS, END_HEADERS, 2 * n + 1, &self.head())).await.unwrap();
                // The first bytes of a message of 64 KiB.
                stream.write_all(&frame(DATA, 0, 2 * n + 1, &[0, 0, 1, 0, 0, 0x0a])).await.unwrap();
            }
            held.push(stream);
        }
        for _ in 0..5 {
            others().await;
            for (n, stream) in held.iter_mut().enumerate() {
                // One byte more for some call.
                let n = 2 * u32::try_from(n).unwrap() + 1;
                let _ = stream.write_all(&frame(DATA, 0, n, &[0x0a])).await;
            }
        }
    }
}

/// Sends until the server ends the connection, and reads what it says meanwhile. Whether it said why: GOAWAY.
async fn flood(stream: UnixStream, chunk: impl Fn(u32) -> Vec<u8> + Send + 'static) -> bool {
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        for n in 0..1_000_000 {
            if writer.write_all(&chunk(n)).await.is_err() {
                break;
            }
        }
        writer
    });
    let mut said = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut said)).await;
    sending.abort();
    assert!(ended.is_ok(), "the server let the flood go on");
    let mut rest = said.as_slice();
    let mut goaway = false;
    while let [a, b, c, kind, ..] = *rest {
        goaway |= kind == GOAWAY;
        let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        rest = rest.get(9 + len..).unwrap_or_default();
    }
    goaway
}

/// Sends these again and again and reads nothing, until the server takes no more; how many bytes it took.
async fn taken(mut stream: UnixStream, chunk: Vec<u8>) -> usize {
    let mut taken = 0;
    while taken < TAKEN {
        match tokio::time::timeout(STALL, stream.write(&chunk[taken % chunk.len()..])).await {
            Ok(Ok(length)) => taken += length,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    taken
}
