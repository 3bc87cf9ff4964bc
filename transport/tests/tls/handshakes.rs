//! Strangers at the listener who never come to the end of a handshake: what places they hold, for how long, and that others are served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use plastron_transport::{FIRST_BYTE_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_HANDSHAKES_OF_ADDRESS, PREFACE_TIMEOUT};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{Ca, SERVER, Server, TrustAnything};

const FLOODS_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHERS_FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first byte of a handshake.
const BEGUN: &[u8] = &[22];

async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// As many as one address may have under way, and some more.
async fn flood(to: SocketAddr, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = connect(FLOODS_FROM, to).await;
        stream.write_all(says).await.unwrap();
        held.push(stream);
    }
    held
}

/// Whether who comes from there comes through a handshake to the server's first frame.
async fn is_served(from: IpAddr, to: SocketAddr) -> bool {
    let served = async {
        let mut stream = shake_hands(from, to).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.read_exact(&mut [0; 9]).await
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap().is_ok()
}

async fn shake_hands(from: IpAddr, to: SocketAddr) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), connect(from, to).await).await
}

/// Waits until the server has taken note of all of them: the next one of the address finds no place.
async fn until_full(to: SocketAddr) {
    for _ in 0..1000 {
        if !is_served(FLOODS_FROM, to).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the address never had all of its places");
}

/// Waits for the server to end all of these: how long it took, on a clock that goes to the next deadline as soon as everyone waits.
async fn until_cut_off<S: AsyncRead + Unpin>(held: Vec<S>) -> Duration {
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    for mut stream in held {
        while !matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
    }
    let took = begun.elapsed();
    tokio::time::resume();
    took
}

async fn start() -> Server {
    let ca = Ca::new("example.org");
    Server::start(ca.identity(SERVER), vec![ca.bundle.clone()]).await
}

/// Threat 45: who says nothing has a connection, and none of the places in which handshakes compute.
#[tokio::test]
async fn who_says_nothing_takes_no_place_of_a_handshake_and_is_gone_soon() {
    let server = start().await;
    let silent = flood(server.address, MAX_HANDSHAKES_OF_ADDRESS + 100, &[]).await;
    assert!(is_served(FLOODS_FROM, server.address).await, "another one of the same address");
    assert!(is_served(OTHERS_FROM, server.address).await);
    let took = until_cut_off(silent).await;
    assert!(took <= FIRST_BYTE_TIMEOUT + Duration::from_secs(1), "{took:?}");
    assert!(is_served(FLOODS_FROM, server.address).await);
}

/// Threat 45: who begins and does not go on, or goes on byte by byte, fills the places of its own address; they come back.
#[tokio::test]
async fn who_trickles_fills_its_own_address_until_its_time_is_over() {
    let server = start().await;
    let mut begun = flood(server.address, MAX_HANDSHAKES_OF_ADDRESS, BEGUN).await;
    until_full(server.address).await;
    assert!(is_served(OTHERS_FROM, server.address).await, "another address");
    // Another byte buys no more time.
    for stream in &mut begun {
        let _ = stream.write_all(&[3]).await;
    }
    let took = until_cut_off(begun).await;
    assert!(took <= HANDSHAKE_TIMEOUT + Duration::from_secs(1), "{took:?}");
    assert!(is_served(FLOODS_FROM, server.address).await, "the places came back");
}

/// Threat 45: who goes away gives back what it held at once, at whatever step it was.
#[tokio::test]
async fn who_hangs_up_leaves_no_place_taken() {
    let server = start().await;
    for round in 0..3 {
        let begun = flood(server.address, MAX_HANDSHAKES_OF_ADDRESS, BEGUN).await;
        until_full(server.address).await;
        drop(begun);
        let freed = async {
            while !is_served(FLOODS_FROM, server.address).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Less than the deadline of a handshake, so that it is the end of the connections that frees them.
        assert!(tokio::time::timeout(HANDSHAKE_TIMEOUT, freed).await.is_ok(), "round {round}");
    }
}

/// Threat 45: on a socket of both protocols all of IPv4 would be one network of IPv6.
#[tokio::test]
async fn addresses_of_ipv4_are_told_apart_on_a_socket_of_both_protocols() {
    let ca = Ca::new("example.org");
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = Server::on(listener, ca.identity(SERVER), vec![ca.bundle.clone()]);
    let (v4, v6) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    let begun = flood(v4, MAX_HANDSHAKES_OF_ADDRESS, BEGUN).await;
    until_full(v4).await;
    assert!(is_served(OTHERS_FROM, v4).await);
    assert!(is_served(Ipv6Addr::LOCALHOST.into(), v6).await);
    drop(begun);
}

/// Threat 45: a handshake alone is worth ten seconds; HTTP/2's own timers begin with its preface.
#[tokio::test]
async fn who_says_nothing_after_its_handshake_is_gone_soon() {
    let server = start().await;
    let mut silent = Vec::new();
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut stream = shake_hands(FLOODS_FROM, server.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        silent.push(stream);
    }
    let took = until_cut_off(silent).await;
    assert!(took <= PREFACE_TIMEOUT + Duration::from_secs(1), "{took:?}");
}
