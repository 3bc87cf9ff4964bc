//! The admin socket: a whole agent behind it, and behind that a server in memory. The test's own process is the delegate.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../../core/tests/agent/authority.rs"]
mod authority;
#[path = "admin/delegated.rs"]
mod delegated;
#[path = "../../core/tests/agent/fake_server.rs"]
#[expect(dead_code, reason = "the agent's own tests need more of it")]
mod fake_server;
#[path = "../../core/tests/agent/jwt_authority.rs"]
mod jwt_authority;
#[path = "admin/operator.rs"]
mod operator;
mod raw;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_server::{FakeAttestor, FakeServer, PausedClock, domain};
use hyper_util::rt::TokioIo;
use plastron_agent_core::upstream::{AuthorizedEntry, Upstream};
use plastron_agent_core::{Agent, AgentError, DataDir, KeyCustody, Settings, SvidKeyType, WorkloadAttestation};
use plastron_agent_workload_api::admin::{AdminServer, Delegates, LogControl};
use plastron_agent_workload_api::{Access, BundleAccess, ForeignClaims, LogLevel, RateLimits, WorkloadApi};
use plastron_plugins::node::AgentNodeAttestor;
use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_proto::spire::api::agent::delegatedidentity::v1::SubscribeToX509BundlesRequest;
use plastron_proto::spire::api::agent::delegatedidentity::v1::delegated_identity_client::DelegatedIdentityClient;
use plastron_spiffe::Selector;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A process is known by its PID. Can be made to fail.
#[derive(Default)]
struct Attestor {
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl WorkloadAttestor for Attestor {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        let pid = process.pid;
        if self.fails.load(Ordering::SeqCst) {
            return Err(WorkloadAttestError::Unreadable { pid, what: "anything", reason: "told so".to_owned() });
        }
        Ok(vec![Selector::new("test", format!("pid:{pid}")).unwrap()])
    }
}

struct Log(Mutex<LogLevel>);

impl LogControl for Log {
    fn level(&self) -> LogLevel {
        *self.0.lock().unwrap()
    }

    fn launch_level(&self) -> LogLevel {
        LogLevel::Info
    }

    fn set_level(&self, level: LogLevel) {
        *self.0.lock().unwrap() = level;
    }
}

const DELEGATE: &str = "delegate";

/// A server, an agent that attested to it, and its admin socket; everything ends with it.
struct World {
    dir: tempfile::TempDir,
    server: Arc<FakeServer>,
    attestor: Arc<Attestor>,
    agent: JoinHandle<AgentError>,
    admin: JoinHandle<()>,
}

impl World {
    /// The test's process is registered as `/delegate`, which is a delegate.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = PausedClock::new();
        let server = FakeServer::new(&clock);
        server.add_entry(DELEGATE, "/delegate", &[&format!("test:pid:{}", std::process::id())]);
        let settings = Settings {
            trust_domain: domain(),
            bootstrap: Arc::new(server.state().authority.bundle()),
            rebootstrap: plastron_agent_core::Rebootstrap::default(),
            sync_interval: Duration::from_millis(20),
            availability_target: None,
            x509_svid_cache_max_size: 1000,
            jwt_svid_cache_max_size: 1000,
            jwt_svid_cache_hit_timeout: Duration::from_secs(5),
            workload_key_type: SvidKeyType::EcP256,
            version: "test".to_owned(),
        };
        let time = Arc::clone(&clock) as Arc<dyn plastron_agent_core::Clock>;
        let (agent, identities) = Agent::new(
            settings,
            Arc::clone(&server) as Arc<dyn Upstream>,
            Arc::new(FakeAttestor::default()) as Arc<dyn AgentNodeAttestor>,
            DataDir::open(dir.path(), KeyCustody::Memory).unwrap(),
            Arc::clone(&time),
        );
        let (jwt, info) = (agent.jwt_svids(), agent.info());
        let agent = tokio::spawn(agent.run());
        assert!(identities.synchronised().await);
        let attestor = Arc::new(Attestor::default());
        let attestation = WorkloadAttestation::new(vec![attestor.clone() as Arc<dyn WorkloadAttestor>]);
        let access = Access {
            bundles: BundleAccess::IdentifiedWorkloads,
            foreign_claims: ForeignClaims::default(),
            rate_limits: RateLimits::default(),
            logged_selectors: Vec::new(),
        };
        let api = WorkloadApi::new(attestation, identities, jwt, time, access);
        let delegates = Delegates::new([domain().with_path("/delegate").unwrap()]);
        let log = Arc::new(Log(Mutex::new(LogLevel::Info)));
        let socket = AdminServer::bind(&socket_in(dir.path()), api, delegates, info, log, Instant::now()).unwrap();
        let admin = tokio::spawn(async move { socket.serve(std::future::pending()).await.unwrap() });
        Self { dir, server, attestor, agent, admin }
    }

    async fn channel(&self) -> Channel {
        let socket = socket_in(self.dir.path());
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut AuthorizedEntry)) {
        let mut state = self.server.state();
        let entry = state.entries.get_mut(id).unwrap();
        change(entry);
        entry.revision += 1;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent.abort();
        self.admin.abort();
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("admin/admin.sock")
}

fn refused<T>(outcome: Result<T, Status>, code: Code, message: &str) {
    match outcome {
        Ok(_) => panic!("not refused with {message:?}"),
        Err(status) => assert_eq!((status.code(), status.message()), (code, message)),
    }
}

/// Threats 31 and 45: whoever may open this socket may be broken, and a delegate serves many.
#[tokio::test]
async fn floods_of_one_delegate_take_nothing_from_another() {
    let world = World::start().await;
    let socket = socket_in(world.dir.path());
    let method = "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509Bundles";
    let target = raw::Target { socket: &socket, method };
    let others = async || {
        for _ in 0..5 {
            let served = async {
                let mut client = DelegatedIdentityClient::new(world.channel().await);
                let request = SubscribeToX509BundlesRequest::default();
                client.subscribe_to_x509_bundles(request).await.unwrap().into_inner().message().await.unwrap().unwrap();
            };
            tokio::time::timeout(Duration::from_secs(60), served).await.unwrap();
        }
    };
    target.resets(&others).await;
    target.endless_headers(&others).await;
    target.unread_answers(&others).await;
    target.trickling_calls(&others).await;
}
