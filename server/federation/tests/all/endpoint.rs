//! The endpoint that this server serves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_server_federation::BundleEndpoint;
use plastron_spiffe::Bundle;
use plastron_transport::{
    HttpsClientTls, HttpsConnectError, HttpsServerTls, HttpsStream, IdentitySlot, MAX_HTTPS_CONNECTIONS_OF_ADDRESS,
    PeerRefused,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::pki::{Ca, SERVER, id, other};

struct Served {
    address: SocketAddr,
    bundle: Arc<Mutex<Arc<Bundle>>>,
    identity: Arc<IdentitySlot>,
    ca: Ca,
    ended: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let ca = Ca::new("other.test");
        let bundle = Arc::new(Mutex::new(Arc::new(Bundle { sequence_number: 7, ..ca.bundle.clone() })));
        let shown = Arc::clone(&bundle);
        let endpoint =
            BundleEndpoint::new(Arc::new(move || Arc::clone(&shown.lock().unwrap())), Duration::from_secs(300));
        let identity = IdentitySlot::new(ca.identity(SERVER, true));
        let tls = HttpsServerTls::presenting_svid(Arc::clone(&identity)).unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let ended = CancellationToken::new();
        let task = tokio::spawn(endpoint.serve(listener, tls, ended.clone()));
        Self { address, bundle, identity, ca, ended, task }
    }

    async fn connect(&self, ca: &Ca) -> Result<impl HttpsStream + use<>, HttpsConnectError> {
        let tls = HttpsClientTls::Spiffe { server: id(SERVER), bundle: ca.bundle.clone() };
        tls.connect("127.0.0.1", self.address.port()).await
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect(&self.ca).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn get_of_the_root_is_the_bundle_with_the_configured_hint() {
    let served = Served::start().await;
    for path in ["/", "/?since=1"] {
        let answer = served.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{answer}");
        let got = Bundle::from_spiffe_json(other(), body(&answer).as_bytes()).unwrap();
        assert_eq!(got, Bundle { sequence_number: 7, refresh_hint: 300, ..served.ca.bundle.clone() });
        let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(json["keys"][0]["use"], "x509-svid");
    }
}

#[tokio::test]
async fn a_new_bundle_is_served_at_once() {
    let served = Served::start().await;
    let mut emptied = Bundle::empty(other());
    emptied.sequence_number = 8;
    served.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    *served.bundle.lock().unwrap() = Arc::new(emptied);
    let answer = served.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let got = Bundle::from_spiffe_json(other(), body(&answer).as_bytes()).unwrap();
    assert_eq!((got.sequence_number, got.x509_authorities.len()), (8, 0));
}

#[tokio::test]
async fn other_paths_are_not_found_and_other_methods_not_allowed() {
    let served = Served::start().await;
    for path in ["/x", "//", "/../", "/index.html", "/%2f"] {
        let answer = served.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}: {answer}");
    }
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"] {
        let answer = served.ask(&format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_one_connection_has_one_answer() {
    let served = Served::start().await;
    for request in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let answer = served.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer}");
    }
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let mut stream = served.connect(&served.ca).await.unwrap();
    // The rest of it may meet a closed connection.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = served.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_replaced_svid_is_presented_from_the_next_connection_on() {
    let served = Served::start().await;
    drop(served.connect(&served.ca).await.unwrap());
    let next = Ca::new("other.test");
    served.identity.replace(next.identity(SERVER, true));
    drop(served.connect(&next).await.unwrap());
    let refused = served.connect(&served.ca).await.map(drop).unwrap_err();
    assert!(matches!(refused, HttpsConnectError::Refused { source: PeerRefused::Svid(_), .. }), "{refused:?}");
}

/// Threat 45
#[tokio::test]
async fn a_flood_from_one_address_takes_no_place_from_others() {
    let served = Served::start().await;
    let from = async |address: [u8; 4]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(served.address).await.unwrap()
    };
    let mut silent = Vec::new();
    for _ in 0..MAX_HTTPS_CONNECTIONS_OF_ADDRESS {
        silent.push(from([127, 0, 0, 2]).await);
    }
    // One more is closed at once.
    assert_eq!(read_end(from([127, 0, 0, 2]).await).await, 0);
    let answer = served.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(silent);
}

/// Threat 45. One after the other, each by its own deadline: the first byte, the handshake, the head of the request.
#[tokio::test]
async fn whoever_says_nothing_or_half_a_request_is_cut_off() {
    let served = Served::start().await;
    let silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(cut_off(silent).await, 5);
    let mut greeting = TcpStream::connect(served.address).await.unwrap();
    greeting.write_all(&[22, 3, 1, 0]).await.unwrap();
    assert_eq!(cut_off(greeting).await, 10);
    for begun in ["", "GET / HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut half = served.connect(&served.ca).await.unwrap();
        half.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(cut_off(half).await, 10, "{begun:?}");
    }
}

/// Waits for the end of a connection without an answer: how long it took, in seconds of a clock that goes to the next deadline as soon as
/// everyone waits.
async fn cut_off(mut stream: impl HttpsStream) -> u64 {
    // What was said so far is read on the machine's clock.
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    let elapsed = begun.elapsed();
    tokio::time::resume();
    // Rounded up by what passed before the clock stopped.
    (elapsed + Duration::from_millis(999)).as_secs()
}

#[tokio::test]
async fn the_end_waits_for_whoever_is_being_answered() {
    let served = Served::start().await;
    let mut stream = served.connect(&served.ca).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    served.ended.cancel();
    stream.write_all(b"host: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    served.task.await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

/// Strangers that hold a place, each at another step, held up the end of the server by up to ten seconds.
#[tokio::test]
async fn the_end_waits_for_no_stranger() {
    let served = Served::start().await;
    let silent = TcpStream::connect(served.address).await.unwrap();
    let mut greeting = TcpStream::connect(served.address).await.unwrap();
    greeting.write_all(&[22, 3, 1, 0]).await.unwrap();
    let shaken = served.connect(&served.ca).await.unwrap();
    let mut half = served.connect(&served.ca).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    served.ended.cancel();
    served.task.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop((silent, greeting, shaken, half));
}

async fn read_end(mut stream: TcpStream) -> usize {
    stream.read(&mut [0; 16]).await.unwrap_or(0)
}
