//! JWT-SVIDs on a real Unix socket: a whole agent behind it, and behind that a server in memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../../core/tests/agent/authority.rs"]
mod authority;
#[path = "jwt/bundles.rs"]
mod bundles;
#[path = "../../core/tests/agent/fake_server.rs"]
#[expect(dead_code, reason = "the agent's own tests need more of it")]
mod fake_server;
#[path = "jwt/fetch.rs"]
mod fetch;
#[path = "../../core/tests/agent/jwt_authority.rs"]
mod jwt_authority;
#[path = "jwt/validate.rs"]
mod validate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake_server::{FakeAttestor, FakeServer, PausedClock, domain};
use hyper_util::rt::TokioIo;
use plastron_agent_core::upstream::{AuthorizedEntry, Upstream};
use plastron_agent_core::{Agent, AgentError, DataDir, KeyCustody, Settings, SvidKeyType, WorkloadAttestation};
use plastron_agent_workload_api::{Access, BundleAccess, ForeignClaims, RateLimits, WorkloadApi, WorkloadApiServer};
use plastron_plugins::node::AgentNodeAttestor;
use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_proto::workload as wire;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use plastron_spiffe::{Bundle, Selector, TrustDomain};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Every process is the same to it.
struct Attestor;

#[async_trait::async_trait]
impl WorkloadAttestor for Attestor {
    fn name(&self) -> &str {
        "test"
    }

    async fn attest(&self, _process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        Ok(vec![Selector::new("test", "any").unwrap()])
    }
}

/// What the test changes of an agent.
struct Options {
    bundles: BundleAccess,
    foreign_claims: &'static [&'static str],
}

const USUAL: Options = Options { bundles: BundleAccess::IdentifiedWorkloads, foreign_claims: &[] };

/// A server, an agent that attested to it, and its socket; everything ends with it.
struct World {
    dir: tempfile::TempDir,
    server: Arc<FakeServer>,
    clock: Arc<PausedClock>,
    agent: JoinHandle<AgentError>,
    api: JoinHandle<()>,
    jwt: plastron_agent_core::jwt::JwtSvids,
    identities: plastron_agent_core::WorkloadIdentities,
}

impl World {
    /// `entries`: id, path, hint, time of creation.
    async fn start(options: Options, entries: &[(&str, &str, &str, i64)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = PausedClock::new();
        let server = FakeServer::new(&clock);
        for (id, path, hint, created_at) in entries {
            let entry = AuthorizedEntry {
                hint: (*hint).to_owned(),
                created_at: *created_at,
                ..fake_server::entry(id, path, &["test:any"])
            };
            server.state().entries.insert((*id).to_owned(), entry);
        }
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
        let (agent, identities) = Agent::new(
            settings,
            Arc::clone(&server) as Arc<dyn Upstream>,
            Arc::new(FakeAttestor::default()) as Arc<dyn AgentNodeAttestor>,
            DataDir::open(dir.path(), KeyCustody::Memory).unwrap(),
            Arc::clone(&clock) as Arc<dyn plastron_agent_core::Clock>,
        );
        let jwt = agent.jwt_svids();
        let agent = tokio::spawn(agent.run());
        assert!(identities.synchronised().await);
        let access = Access {
            bundles: options.bundles,
            foreign_claims: ForeignClaims::allow(options.foreign_claims.iter().map(|name| (*name).to_owned())),
            rate_limits: RateLimits::default(),
            logged_selectors: Vec::new(),
        };
        let attestation = WorkloadAttestation::new(vec![Arc::new(Attestor)]);
        let time = Arc::clone(&clock) as Arc<dyn plastron_agent_core::Clock>;
        let api = WorkloadApi::new(attestation, identities.clone(), jwt.clone(), time, access);
        let socket = WorkloadApiServer::bind(&dir.path().join("api.sock"), api).unwrap();
        let api = tokio::spawn(async move { socket.serve(std::future::pending()).await.unwrap() });
        Self { dir, server, clock, agent, api, jwt, identities }
    }

    async fn client(&self) -> Client {
        Client(SpiffeWorkloadApiClient::new(channel(&self.dir.path().join("api.sock")).await))
    }

    /// Waits until the agent has what the server has by now.
    async fn synchronised(&self, holds: impl Fn(&plastron_agent_core::BundleSet, &[Arc<AuthorizedEntry>]) -> bool) {
        let selectors = [Selector::new("test", "any").unwrap()].into();
        for _ in 0..500 {
            let bundles = self.identities.bundles(&selectors).await.unwrap();
            if holds(&bundles, &self.jwt.entries(&selectors).await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not synchronised within 5 s");
    }

    /// A foreign domain that all entries federate with.
    async fn federate(&self, bundle: Bundle) {
        {
            let mut state = self.server.state();
            for entry in state.entries.values_mut() {
                entry.federates_with = vec![bundle.trust_domain.clone()];
                entry.revision += 1;
            }
            state.foreign.insert(bundle.trust_domain.clone(), bundle.clone());
        }
        self.synchronised(|held, _| held.federated_bundles.contains_key(&bundle.trust_domain)).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent.abort();
        self.api.abort();
    }
}

async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

/// Sends the header.
#[derive(Clone)]
struct Client(SpiffeWorkloadApiClient<Channel>);

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

impl Client {
    async fn tokens(&mut self, audience: &[&str], spiffe_id: &str) -> Result<Vec<wire::Jwtsvid>, Status> {
        let audience = audience.iter().map(|value| (*value).to_owned()).collect();
        let request = wire::JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
        Ok(self.0.fetch_jwtsvid(with_header(request)).await?.into_inner().svids)
    }

    async fn validate(&mut self, audience: &str, svid: &str) -> Result<wire::ValidateJwtsvidResponse, Status> {
        let request = wire::ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        Ok(self.0.validate_jwtsvid(with_header(request)).await?.into_inner())
    }
}

fn refused<T>(outcome: Result<T, Status>, code: Code, message: &str) {
    match outcome {
        Ok(_) => panic!("not refused with {message:?}"),
        Err(status) => assert_eq!((status.code(), status.message()), (code, message)),
    }
}

fn other_domain() -> TrustDomain {
    TrustDomain::parse("other.test").unwrap()
}
