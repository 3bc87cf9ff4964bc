//! Peers that speak HTTP/2 to wear the server out: frame by frame, since no library would. Others are served meanwhile.

use std::time::Duration;

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_transport::MAX_CONCURRENT_STREAMS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::harness::Server;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Longer than it takes; a server that lets a flood go on for ever fails the test and not the machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call that anyone may make, as HPACK without any table.
fn head() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let path = "/spire.api.server.bundle.v1.Bundle/GetBundle";
    [
        &[0x83, 0x86, 0x04][..],
        &text(path),
        &[0x01],
        &text("localhost"),
        &[0x0f, 0x10],
        &text("application/grpc"),
        &[0x00],
        &text("te"),
        &text("trailers"),
    ]
    .concat()
}

async fn greeted(server: &Server) -> UnixStream {
    let mut stream = server.raw().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends until the server ends the connection, and reads what it says meanwhile. Whether it said why: GOAWAY.
async fn flood(stream: UnixStream, chunk: impl Fn(u32) -> Vec<u8> + Send + 'static, chunks: u32) -> bool {
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        for n in 0..chunks {
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

async fn others_are_served(server: &Server) {
    for channel in [server.local.clone(), server.tls(None).await] {
        BundleClient::new(channel).get_bundle(GetBundleRequest::default()).await.unwrap();
    }
}

/// Threat 31: CVE-2023-44487. Each reset makes room for the next stream, so that the limit of streams limits nothing.
#[tokio::test]
async fn whoever_resets_what_it_opens_again_and_again_is_cut_off() {
    let server = Server::start().await;
    let open_and_reset = |n: u32| {
        let stream = 2 * n + 1;
        [frame(HEADERS, END_HEADERS, stream, &head()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let (stream, other) = (greeted(&server).await, greeted(&server).await);
    let (told, (), also_told) = tokio::join!(
        flood(stream, open_and_reset, 1_000_000),
        others_are_served(&server),
        flood(other, open_and_reset, 1_000_000)
    );
    assert!(told && also_told);
    others_are_served(&server).await;
}

/// Threat 31: CVE-2024-27316 and its like. A header list that never ends is held by no one.
#[tokio::test]
async fn a_header_list_that_never_ends_is_cut_off() {
    let server = Server::start().await;
    let endless = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &head()),
        // A literal field that is not indexed: "a: aaaa…".
        _ => frame(CONTINUATION, 0, 1, &[&[0x00, 1, b'a', 100][..], &[b'a'; 100]].concat()),
    };
    let empty = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &head()),
        _ => frame(CONTINUATION, 0, 1, &[]).repeat(100),
    };
    let (stream, other) = (greeted(&server).await, greeted(&server).await);
    tokio::join!(flood(stream, endless, 1_000_000), flood(other, empty, 1_000_000), others_are_served(&server));
    others_are_served(&server).await;
}

/// Threat 31: answers that no one reads are not piled up, and neither are calls beyond the limit of streams.
#[tokio::test]
async fn who_pings_and_opens_and_reads_nothing_takes_nothing_from_others() {
    let server = Server::start().await;
    let mut floods = Vec::new();
    for kind in [PING, SETTINGS, HEADERS] {
        let mut stream = greeted(&server).await;
        floods.push(tokio::spawn(async move {
            let payload = if kind == PING { vec![0; 8] } else { Vec::new() };
            for n in 0..200_000_u32 {
                let chunk = match kind {
                    HEADERS => frame(HEADERS, END_HEADERS, 2 * n + 1, &head()),
                    _ => frame(kind, 0, 0, &payload).repeat(64),
                };
                if stream.write_all(&chunk).await.is_err() {
                    return;
                }
            }
        }));
    }
    for _ in 0..10 {
        others_are_served(&server).await;
    }
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    others_are_served(&server).await;
}

/// Threat 45: calls whose messages never come hold their own streams and nothing else.
#[tokio::test]
async fn messages_that_trickle_hold_nobody_up() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = greeted(&server).await;
        for n in 0..MAX_CONCURRENT_STREAMS / 10 {
            stream.write_all(&frame(HEADERS, END_HEADERS, 2 * n + 1, &head())).await.unwrap();
            // The first bytes of a message of 64 KiB.
            stream.write_all(&frame(0, 0, 2 * n + 1, &[0, 0, 1, 0, 0, 0x0a])).await.unwrap();
        }
        held.push(stream);
    }
    for _ in 0..10 {
        others_are_served(&server).await;
    }
}
