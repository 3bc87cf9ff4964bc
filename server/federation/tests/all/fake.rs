//! An endpoint that answers with the bytes that a test wants, and notes what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use plastron_spiffe::BundleEndpointUrl;
use plastron_transport::{HttpsServerTls, HttpsStream, serve_https};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The bytes of an answer, and what comes after them.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    /// Says nothing more, and time flies: the clock is stopped, so that it goes to the next deadline at once.
    Hang,
    /// The last byte again and again.
    Repeat,
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Answer { bytes: [head.as_bytes(), body].concat(), then: Then::Close }
}

pub(crate) fn document(body: &str) -> Answer {
    answer("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

pub(crate) fn redirect(status: &str, location: &str) -> Answer {
    answer(status, &format!("location: {location}\r\n"), b"")
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// While true, what is asked is noted and not answered.
    pub(crate) held: tokio::sync::watch::Sender<bool>,
    _end: tokio_util::sync::DropGuard,
}

impl Fake {
    /// Answers each path as the script says.
    pub(crate) async fn start(
        tls: HttpsServerTls,
        script: impl Fn(&str) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, asked) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&asked);
        let (held, holds) = tokio::sync::watch::channel(false);
        tokio::spawn(serve_https("a fake", listener, tls.into(), ended.clone(), move |stream| {
            let (script, noted, holds) = (script.clone(), Arc::clone(&noted), holds.clone());
            async move { talk(stream, script, noted, holds).await }
        }));
        Self { address, asked, held, _end: ended.drop_guard() }
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> BundleEndpointUrl {
        BundleEndpointUrl::parse(&format!("https://{host}:{}{path}", self.address.port())).unwrap()
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: Box<dyn HttpsStream>,
    script: impl Fn(&str) -> Answer,
    noted: Arc<Mutex<Vec<String>>>,
    mut holds: tokio::sync::watch::Receiver<bool>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    noted.lock().unwrap().push(head);
    let Answer { bytes, then } = script(&path);
    // The fake that holds is gone with the test.
    let _ = holds.wait_for(|held| !held).await.map(drop);
    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    match then {
        Then::Close => drop(stream.shutdown().await),
        Then::Hang => {
            tokio::time::pause();
            std::future::pending().await
        }
        Then::Repeat => {
            let more = vec![*bytes.last().unwrap(); 64 * 1024];
            while stream.write_all(&more).await.is_ok() {}
        }
    }
}
