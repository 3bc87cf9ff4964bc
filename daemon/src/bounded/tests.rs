//! Connections that say nothing, and too many of one address.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;

/// More than any socket buffers.
const LONG: usize = 64 << 20;

async fn started() -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes =
        Router::new().route("/", get(|| async { "scraped" })).route("/long", get(|| async { "x".repeat(LONG) }));
    tokio::spawn(async move { axum::serve(Bounded::new(listener), one_answer(routes)).await });
    ([127, 0, 0, 1], port).into()
}

async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Whether who comes from there gets its answer.
async fn is_served(from: [u8; 4], to: SocketAddr) -> bool {
    let mut stream = connect(from, to).await;
    let mut answer = String::new();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let asked = async {
        stream.write_all(request).await?;
        stream.read_to_string(&mut answer).await
    };
    asked.await.is_ok() && answer.ends_with("scraped")
}

async fn until(served: bool, from: [u8; 4], to: SocketAddr) {
    for _ in 0..500 {
        if is_served(from, to).await == served {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("it never was so");
}

/// Waits for the end of all of these: how long it took, on a clock that goes to the next deadline as soon as everyone waits.
async fn cut_off(held: &mut [TcpStream]) -> Duration {
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    for stream in held {
        let mut chunk = [0; 16];
        while !matches!(stream.read(&mut chunk).await, Ok(0) | Err(_)) {}
    }
    let took = begun.elapsed();
    tokio::time::resume();
    took
}

/// Threat 45
#[tokio::test]
async fn who_says_nothing_takes_no_place_from_other_addresses_and_is_gone_soon() {
    let address = started().await;
    let mut silent = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        silent.push(connect([127, 0, 0, 2], address).await);
    }
    until(false, [127, 0, 0, 2], address).await;
    assert!(is_served([127, 0, 0, 1], address).await);
    let took = cut_off(&mut silent).await;
    assert!(took <= Duration::from_secs(6), "{took:?}");
    assert!(is_served([127, 0, 0, 2], address).await);
}

#[tokio::test]
async fn a_connection_ends_with_its_answer_and_says_so() {
    let address = started().await;
    let mut stream = connect([127, 0, 0, 1], address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("scraped"), "{answer}");
}

/// Threat 45
#[tokio::test]
async fn who_trickles_or_does_not_read_is_cut_off() {
    let address = started().await;
    let mut slow = Vec::new();
    for n in 0..MAX_CONNECTIONS_OF_ADDRESS {
        let mut stream = connect([127, 0, 0, 2], address).await;
        match n % 2 {
            0 => stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap(),
            _ => ask(&mut stream, "/long").await,
        }
        slow.push(stream);
    }
    until(false, [127, 0, 0, 2], address).await;
    assert!(is_served([127, 0, 0, 1], address).await);
    // None of them reads while its time goes by.
    tokio::time::pause();
    tokio::time::sleep(LIFETIME + Duration::from_secs(1)).await;
    tokio::time::resume();
    until(true, [127, 0, 0, 2], address).await;
    // What was sent before is still in the buffers of the system, and all of it is not.
    let mut read = 0;
    let mut unread = slow.swap_remove(1);
    let mut chunk = vec![0; 1 << 20];
    while let Ok(1..) = unread.read(&mut chunk).await.inspect(|length| read += length) {}
    assert!(read < LONG, "{read} bytes");
}
