//! A real gRPC server on a Unix socket, with clients that send their socket's path as authority.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use plastron_transport::{PREFACE_TIMEOUT, PeerCredentials, SocketModes, UnixSocket, unix_channel, unix_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tonic::service::interceptor::InterceptedService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;

struct Server {
    path: PathBuf,
    peers: Arc<Mutex<Vec<PeerCredentials>>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("public/api.sock");
        let socket = UnixSocket::bind(&path, SocketModes::PUBLIC).unwrap();
        let peers = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&peers);
        let (reporter, _) = tonic_health::server::health_reporter();
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let service = InterceptedService::new(HealthServer::new(health), move |request: tonic::Request<()>| {
            noted.lock().unwrap().push(request.extensions().get::<PeerCredentials>().unwrap().clone());
            Ok(request)
        });
        let (stop, stopped) = oneshot::channel();
        let incoming = socket.incoming().unwrap();
        let task = tokio::spawn(async move {
            let served = unix_server().add_service(service).serve_with_incoming_shutdown(incoming, async {
                let _ = stopped.await;
            });
            served.await.unwrap();
        });
        Self { path, peers, stop, task, _dir: dir }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        // The accept loop sees the end of the stream and removes the file.
        for _ in 0..1000 {
            if !self.path.exists() {
                return;
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(!self.path.exists(), "the socket is left behind");
    }
}

#[tokio::test]
async fn a_call_knows_the_process_that_makes_it() {
    let server = Server::start();
    assert_eq!(std::fs::metadata(&server.path).unwrap().permissions().mode() & 0o777, 0o777);
    HealthClient::new(unix_channel(&server.path)).check(HealthCheckRequest::default()).await.unwrap();
    let peer = server.peers.lock().unwrap().pop().unwrap();
    assert_eq!((peer.uid, peer.gid), (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    let process = peer.process.unwrap();
    assert_eq!(u32::try_from(process.pid).unwrap(), std::process::id());
    assert!(process.liveness.is_same_process());
    server.stop().await;
}

/// Threat 38: the client exits while its connection, held by no one else, is still served.
#[tokio::test]
async fn a_client_that_exits_is_no_longer_the_same_process() {
    let server = Server::start();
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "client_in_another_process"])
        .env("SOCKET", &server.path)
        .spawn()
        .unwrap();
    let process = loop {
        if let Some(peer) = server.peers.lock().unwrap().pop() {
            break peer.process.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(u32::try_from(process.pid).unwrap(), child.id().unwrap());
    child.wait().await.unwrap();
    assert!(!process.liveness.is_same_process());
    server.stop().await;
}

#[test]
#[ignore = "run by another test as the program of a client"]
fn client_in_another_process() {
    use std::io::{Read, Write};

    let mut stream = std::os::unix::net::UnixStream::connect(std::env::var_os("SOCKET").unwrap()).unwrap();
    stream.write_all(&call_with_authority(b"localhost")).unwrap();
    // An answer on the call's stream means that the call has arrived.
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let len = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        std::io::copy(&mut Read::by_ref(&mut stream).take(len), &mut std::io::sink()).unwrap();
        if head[5..] == 1u32.to_be_bytes() {
            return;
        }
    }
}

/// HEADERS and an empty gRPC message for `grpc.health.v1.Health/Check`, by hand, with any authority.
fn call_with_authority(authority: &[u8]) -> Vec<u8> {
    let literal = |name: &[u8], value: &[u8]| {
        let len = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0x40, len(name)], name, &[len(value)], value].concat()
    };
    let block = [
        vec![0x83, 0x86],
        literal(b":path", b"/grpc.health.v1.Health/Check"),
        literal(b":authority", authority),
        literal(b"content-type", b"application/grpc"),
        literal(b"te", b"trailers"),
    ]
    .concat();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &block),
        frame(0, 1, 1, &[0, 0, 0, 0, 0]),
    ]
    .concat()
}

/// Kinds of the frames on stream 1 that answer a call, until the stream ends.
async fn answer(path: &Path, authority: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(&call_with_authority(authority)).await.unwrap();
    let mut kinds = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let len = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        tokio::io::copy(&mut (&mut stream).take(len), &mut tokio::io::sink()).await.unwrap();
        if head[5..] == 1u32.to_be_bytes() {
            kinds.push(head[3]);
            if head[3] == 3 || head[4] & 1 != 0 {
                return kinds;
            }
        }
    }
}

#[tokio::test]
async fn any_authority_is_served() {
    let server = Server::start();
    let own = server.path.to_str().unwrap().as_bytes().to_vec();
    let coded = server.path.to_str().unwrap().replace('/', "%2F").into_bytes();
    for authority in [
        b"localhost".to_vec(),
        own,
        coded,
        b"/tmp/x%2Fy.sock".to_vec(),
        b"tmp%2Fx.sock".to_vec(),
        b"unix:/run/a.sock".to_vec(),
        b"a b#c@x:y:z".to_vec(),
        "é".as_bytes().to_vec(),
    ] {
        let kinds = answer(&server.path, &authority).await;
        assert_eq!(kinds, [1, 0, 1], "HEADERS, DATA and trailers for {}", authority.escape_ascii());
    }
    assert_eq!(server.peers.lock().unwrap().len(), 8);
    server.stop().await;
}

/// Threat 45: whoever connects and does not say that it speaks HTTP/2 held its place for as long as it liked.
#[tokio::test]
async fn who_connects_and_says_nothing_is_gone_soon() {
    let server = Server::start();
    let mut silent = Vec::new();
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"P"] {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(said).await.unwrap();
        silent.push(stream);
    }
    let mut idle = UnixStream::connect(&server.path).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    idle.read_exact(&mut [0; 9]).await.unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    for mut stream in silent {
        let mut said = Vec::new();
        // The server may say why.
        let _ = stream.read_to_end(&mut said).await;
    }
    assert!(begun.elapsed() <= PREFACE_TIMEOUT + std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    // A workload that greeted and makes no call keeps its connection.
    tokio::time::sleep(PREFACE_TIMEOUT * 10).await;
    tokio::time::resume();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    idle.write_all(&ping).await.unwrap();
    let mut answered = Vec::new();
    while !answered.ends_with(&[1, 2, 3, 4, 5, 6, 7, 8]) {
        answered.push(idle.read_u8().await.unwrap());
    }
    drop(idle);
    server.stop().await;
}
