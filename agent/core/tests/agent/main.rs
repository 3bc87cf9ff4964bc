//! The agent against a server in memory, on tokio's paused clock: no test waits in real time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod authority;
mod denial;
mod fake_server;
mod foreign;
mod jwt;
mod jwt_authority;
mod push;
mod rebootstrap;
mod restart;
mod rotation;
mod workloads;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_server::{FakeAttestor, FakeServer, PausedClock, domain};
use plastron_agent_core::jwt::JwtSvids;
use plastron_agent_core::upstream::Upstream;
use plastron_agent_core::{
    Agent, AgentError, BootstrapSource, DataDir, KeyCustody, Rebootstrap, Settings, Subscription, SvidKeyType,
    WorkloadIdentities, WorkloadState, WorkloadUpdate,
};
use plastron_plugins::node::AgentNodeAttestor;
use plastron_spiffe::Selector;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A node with its disk, its server and its clock.
struct Node {
    clock: Arc<PausedClock>,
    server: Arc<FakeServer>,
    dir: TempDir,
    keys: KeyCustody,
    capacity: usize,
    jwt_capacity: usize,
    availability_target: Option<Duration>,
    key_type: SvidKeyType,
    admitted: Arc<Mutex<usize>>,
    rebootstrap: Rebootstrap,
    /// The server's bundle at the agent's start, where there is none.
    source: Option<Arc<dyn BootstrapSource>>,
}

/// A running agent; aborted when dropped.
struct Running {
    task: Option<JoinHandle<AgentError>>,
    identities: WorkloadIdentities,
    jwt: JwtSvids,
}

impl Node {
    fn new() -> Self {
        let clock = PausedClock::new();
        let dir = tempfile::tempdir().unwrap();
        Self {
            server: FakeServer::new(&clock),
            clock,
            keys: KeyCustody::Disk(dir.path().to_owned()),
            dir,
            capacity: 1000,
            jwt_capacity: 1000,
            availability_target: None,
            key_type: SvidKeyType::EcP256,
            admitted: Arc::default(),
            rebootstrap: Rebootstrap::default(),
            source: None,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn start(&self) -> Running {
        let bootstrap: Arc<dyn BootstrapSource> = match &self.source {
            Some(source) => Arc::clone(source),
            None => Arc::new(self.server.state().authority.bundle()),
        };
        let settings = Settings {
            trust_domain: domain(),
            bootstrap,
            rebootstrap: self.rebootstrap,
            sync_interval: Duration::from_secs(5),
            availability_target: self.availability_target,
            x509_svid_cache_max_size: self.capacity,
            jwt_svid_cache_max_size: self.jwt_capacity,
            jwt_svid_cache_hit_timeout: Duration::from_secs(5),
            workload_key_type: self.key_type,
            version: "test".to_owned(),
        };
        let attestor = FakeAttestor { admitted: Arc::clone(&self.admitted) };
        let (agent, identities) = Agent::new(
            settings,
            Arc::clone(&self.server) as Arc<dyn Upstream>,
            Arc::new(attestor) as Arc<dyn AgentNodeAttestor>,
            DataDir::open(self.path(), self.keys.clone()).unwrap(),
            Arc::clone(&self.clock) as Arc<dyn plastron_agent_core::Clock>,
        );
        let jwt = agent.jwt_svids();
        Running { task: Some(tokio::spawn(agent.run())), identities, jwt }
    }
}

impl Running {
    fn subscribe(&self, selectors: &[&str]) -> Subscription {
        let selectors: BTreeSet<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        self.identities.subscribe(selectors)
    }

    /// As kill -9 would: nothing is said to anyone.
    async fn kill(mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Why it ended by itself.
    async fn ended(mut self) -> AgentError {
        let month = Duration::from_secs(30 * 86_400);
        tokio::time::timeout(month, self.task.take().unwrap()).await.unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn identities(subscription: &mut Subscription) -> WorkloadUpdate {
    match next(subscription).await {
        WorkloadState::Identities(update) => update,
        WorkloadState::NoIdentity => panic!("no identity"),
    }
}

async fn no_identity(subscription: &mut Subscription) {
    match next(subscription).await {
        WorkloadState::NoIdentity => {}
        WorkloadState::Identities(update) => panic!("{update:?}"),
    }
}

/// The next value, which must come within an hour of paused time.
async fn next(subscription: &mut Subscription) -> WorkloadState {
    tokio::time::timeout(Duration::from_secs(3600), subscription.next()).await.unwrap().unwrap()
}

async fn silence(subscription: &mut Subscription, seconds: u64) {
    let value = tokio::time::timeout(Duration::from_secs(seconds), subscription.next()).await;
    assert!(value.is_err(), "{value:?}");
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
