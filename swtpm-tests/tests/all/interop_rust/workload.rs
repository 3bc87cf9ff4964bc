//! One end of handshakes on `spiffe-rustls`, with configurations that are made once and follow its source. It takes one step at a time: an
//! update arrives, it is converted, a handshake is made; each only while it is asked for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use spiffe::X509Source;
use spiffe_rustls::{TlsStatus, authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::workloads::testbed::{Agent, eventually};

/// How long the agent's next word is waited for; if it comes later, it is taken the next time.
const LULL: Duration = Duration::from_millis(50);

/// What each end says of a handshake that failed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) server: String,
    pub(super) client: String,
}

/// The test itself is the workload. Runtimes without threads stand still while nobody waits for something on them.
#[derive(Debug)]
pub(super) struct Workload {
    source: X509Source,
    of_client: Arc<ClientConfig>,
    of_server: Arc<ServerConfig>,
    conversions: [TlsStatus; 2],
    arriving: Runtime,
    converting: Runtime,
    shaking_hands: Runtime,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Workload {
    /// Waits for its first SVID. It takes the other end only by this ID.
    pub(super) fn start(agent: &Agent, id: &str, peer: &str) -> Arc<Self> {
        let _already_there = default_provider().install_default();
        let (arriving, converting) = (runtime(), runtime());
        let endpoint = format!("unix:{}", agent.socket().display());
        let source =
            eventually("an X509Source", || arriving.block_on(X509Source::builder().endpoint(&endpoint).build()).ok());
        assert_eq!(source.svid().unwrap().spiffe_id().to_string(), id);
        let entered = converting.enter();
        let peer = || authorizer::exact([peer]).unwrap();
        let (of_client, client) = mtls_client(source.clone()).authorize(peer()).build_with_status().unwrap();
        let (of_server, server) = mtls_server(source.clone()).authorize(peer()).build_with_status().unwrap();
        drop(entered);
        Arc::new(Self {
            source,
            of_client: Arc::new(of_client),
            of_server: Arc::new(of_server),
            conversions: [client, server],
            arriving,
            converting,
            shaking_hands: runtime(),
        })
    }

    /// Other things of the agent that take their time.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.arriving.block_on(future)
    }

    /// Whether there was one.
    pub(super) fn let_one_update_arrive(&self) -> bool {
        let mut updates = self.source.updated();
        self.arriving.block_on(async { timeout(LULL, updates.changed()).await }).is_ok()
    }

    /// Until the configurations are those of the last update.
    pub(super) fn convert(&self) {
        for status in &self.conversions {
            let mut status = status.clone();
            self.converting.block_on(async {
                while let Some(error) = status.current().error {
                    assert!(matches!(*error, spiffe_rustls::Error::PendingRevision { .. }), "{error}");
                    status.changed().await.unwrap();
                }
            });
        }
    }

    /// Does this now, and again after each update that arrives.
    pub(super) fn after_each_update(&self, mut act: impl FnMut()) {
        loop {
            self.convert();
            act();
            if !self.let_one_update_arrive() {
                return;
            }
        }
    }

    /// The SVID of today.
    pub(super) fn leaf(&self) -> Vec<u8> {
        self.source.svid().unwrap().leaf().as_bytes().to_vec()
    }

    /// How many authorities it knows of this trust domain, if it has a bundle.
    pub(super) fn authorities_of(&self, trust_domain: &str) -> Option<usize> {
        let bundle = self.source.try_bundle_for_trust_domain(&trust_domain.try_into().unwrap())?;
        Some(bundle.authorities().len())
    }

    /// Says hello to this server; the certificate that it showed.
    pub(super) fn shake_hands(&self, server: &Self) -> Result<Vec<u8>, Refused> {
        self.say_hello(Arc::clone(&server.of_server))
    }

    /// The same, and once the server has chosen its certificate, an update of its own arrives.
    pub(super) fn shake_hands_while_an_update_arrives(&self, server: &Arc<Self>) -> Result<Vec<u8>, Refused> {
        let mut of_server = ServerConfig::clone(&server.of_server);
        of_server.cert_resolver = Arc::new(Interrupted(Arc::clone(server)));
        self.say_hello(Arc::new(of_server))
    }

    fn say_hello(&self, of_server: Arc<ServerConfig>) -> Result<Vec<u8>, Refused> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let serving = async {
            let mut stream = TlsAcceptor::from(of_server).accept(far).await?;
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await?;
            stream.write_all(&hello).await?;
            stream.shutdown().await
        };
        let calling = async {
            let name = ServerName::try_from("not.looked.at").map_err(io::Error::other)?;
            let mut stream = TlsConnector::from(Arc::clone(&self.of_client)).connect(name, near).await?;
            stream.write_all(b"hello").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec());
            shown.filter(|_| answer == "hello").ok_or_else(|| io::Error::other(answer))
        };
        match self.shaking_hands.block_on(async { tokio::join!(serving, calling) }) {
            (Ok(()), Ok(shown)) => Ok(shown),
            (served, called) => Err(Refused { server: said(served), client: said(called) }),
        }
    }
}

fn said<T>(outcome: io::Result<T>) -> String {
    outcome.map_or_else(|error| error.to_string(), |_| "done".to_owned())
}

/// Chooses the workload's certificate, and lets an update arrive before it is used.
#[derive(Debug)]
struct Interrupted(Arc<Workload>);

impl ResolvesServerCert for Interrupted {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.0.of_server.cert_resolver.resolve(hello);
        // On a thread of its own, as this one runs the handshake.
        let wait = || eventually("an update", || self.0.let_one_update_arrive().then_some(()));
        std::thread::scope(|scope| scope.spawn(wait).join()).unwrap();
        chosen
    }
}
