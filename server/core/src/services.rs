//! All services of a server, put together from a store, a key store and attestors that the program chose.

use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::node::NodeAttestor;
use plastron_spiffe::SpiffeId;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admission::NodeAdmission;
use crate::audit::{AuditLog, AuditSink, chain};
use crate::authorization::{Authorizer, Permit, rpc};
use crate::bundles::Bundles;
use crate::ca::{CaConfig, CaError, CaKeys, CertificateAuthority};
use crate::clock::Clock;
use crate::health::Health;
use crate::issuance::Issuance;
use crate::ledger::Ledger;
use crate::minting::Minting;
use crate::nodes::Nodes;
use crate::pending::PendingTpms;
use crate::pruning::prune;
use crate::registration::Registration;
use crate::server_svid::{ServerSvidError, ServerSvidSource};
use crate::tokens::JoinTokens;
use crate::watch::Watchers;

/// How often the CA and the server's own SVID are looked at (SPIRE's rotator: 10 s), unless their lives are short.
const ROTATION_TICK: Duration = Duration::from_secs(10);
/// The last sixth of a CA's life, and the second half of an SVID's, is seen this often at least.
const LOOKS_PER_WINDOW: u32 = 5;
/// How often expired entries and tokens are removed (SPIRE: 5 min).
const PRUNING_PERIOD: Duration = Duration::from_secs(300);

/// What configuration says to the services.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// The CA.
    pub ca: CaConfig,
    /// SPIFFE IDs that are administrators (`admin_ids`).
    pub admin_ids: Vec<SpiffeId>,
    /// Lifetime of agent SVIDs (`agent_ttl`); SPIRE's default is `default_x509_svid_ttl`.
    pub agent_ttl: Duration,
    /// Lifetime of workload SVIDs whose entry has none (`default_x509_svid_ttl`), and of the server's own.
    pub default_x509_svid_ttl: Duration,
}

/// The services. What is public here is what the gRPC services and the program call.
pub struct Services {
    /// State and store.
    pub ledger: Arc<Ledger>,
    /// Who may call what.
    pub authorizer: Authorizer,
    /// AttestAgent, RenewAgent.
    pub admission: Arc<NodeAdmission>,
    /// The other RPCs of the Agent service.
    pub nodes: Nodes,
    /// CreateJoinToken.
    pub join_tokens: JoinTokens,
    /// TPMs that wait for a person.
    pub pending: PendingTpms,
    /// The Entry service.
    pub registration: Registration,
    /// BatchNewX509SVID.
    pub issuance: Issuance,
    /// MintX509SVID.
    pub minting: Minting,
    /// The Bundle service.
    pub bundles: Bundles,
    /// The server's own SVID, for TLS.
    pub server_svid: ServerSvidSource,
    /// The CA.
    pub ca: Arc<CertificateAuthority>,
    /// The push to agents.
    pub watchers: Arc<Watchers>,
    /// Readiness.
    pub health: Health,
    /// The audit log, for what must not leave or be done unrecorded.
    pub audit: Arc<AuditLog>,
    clock: Arc<dyn Clock>,
    rotation_tick: Duration,
}

impl Services {
    /// Starts the CA and everything that needs it. The ledger is opened before, because attestors look nodes up in its state.
    pub async fn start(
        config: ServicesConfig,
        ledger: Arc<Ledger>,
        keys: CaKeys,
        attestors: Vec<Arc<dyn NodeAttestor>>,
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Result<Arc<Self>, StartError> {
        let ServicesConfig { ca, admin_ids, agent_ttl, default_x509_svid_ttl } = config;
        let trust_domain = ca.trust_domain.clone();
        let shortest_window = (ca.ttl / 6).min(default_x509_svid_ttl / 2);
        let rotation_tick = (shortest_window / LOOKS_PER_WINDOW).clamp(Duration::from_millis(100), ROTATION_TICK);
        let audit = AuditLog::new(audit);
        let (ledger_of, clock_of, audit_of) = (|| Arc::clone(&ledger), || Arc::clone(&clock), || Arc::clone(&audit));
        let ca = Arc::new(CertificateAuthority::open(ca, keys, ledger_of(), clock_of(), audit_of()).await?);
        let server_svid =
            ServerSvidSource::start(Arc::clone(&ca), clock_of(), audit_of(), default_x509_svid_ttl).await?;
        let admission = NodeAdmission::new(attestors, Arc::clone(&ca), ledger_of(), clock_of(), audit_of(), agent_ttl);
        Ok(Arc::new(Self {
            authorizer: Authorizer::new(ledger_of(), clock_of(), audit_of(), admin_ids),
            admission: Arc::new(admission),
            nodes: Nodes::new(ledger_of()),
            join_tokens: JoinTokens::new(ledger_of(), clock_of(), trust_domain.clone()),
            pending: PendingTpms::new(ledger_of(), clock_of()),
            registration: Registration::new(ledger_of(), clock_of(), trust_domain.clone()),
            minting: Minting::new(Arc::clone(&ca), audit_of(), default_x509_svid_ttl),
            issuance: Issuance::new(Arc::clone(&ca), ledger_of(), clock_of(), audit_of(), default_x509_svid_ttl),
            watchers: Watchers::new(ledger_of(), clock_of(), &trust_domain),
            bundles: Bundles::new(ledger_of(), trust_domain),
            health: Health::new(Arc::clone(&ca), ledger_of(), clock_of(), audit_of()),
            audit: audit_of(),
            server_svid,
            ca,
            ledger,
            clock,
            rotation_tick,
        }))
    }

    /// How much there is (Debug/GetInfo). Reads no database.
    pub fn info(&self, _permit: Permit<rpc::DebugGetInfo>) -> Inventory {
        let state = self.ledger.state();
        Inventory { nodes: state.count_nodes(|_node| true), entries: state.count_entries(|_entry| true) }
    }

    /// Replaces CA and server SVID when they are due, removes what has expired, and tells agents what changed, until cancelled.
    pub async fn maintain(self: Arc<Self>, cancelled: CancellationToken) {
        let watchers = self.watchers.follow(cancelled.clone());
        tokio::join!(watchers, self.keep(cancelled));
    }

    async fn keep(&self, cancelled: CancellationToken) {
        let mut rotation = interval(self.rotation_tick);
        rotation.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pruning = tokio::time::interval_at(Instant::now() + PRUNING_PERIOD, PRUNING_PERIOD);
        pruning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = rotation.tick() => {
                    self.heal_audit_log().await;
                    self.rotate().await;
                    self.follow().await;
                }
                _ = pruning.tick() => {
                    self.prune().await;
                }
            }
        }
    }

    /// A sink that works again is found without anyone's call. Why it does not is told by `/ready`: the log is what can't be written.
    async fn heal_audit_log(&self) {
        let _still_broken = self.audit.check().await;
    }

    /// Takes over what another process wrote to the store, and what was committed although it was reported as failed.
    async fn follow(&self) {
        if let Err(error) = self.ledger.catch_up().await {
            tracing::error!(error = chain(&error), "The change log can't be followed");
        }
    }

    /// Removes what has expired.
    pub async fn prune(&self) {
        if let Err(error) = prune(&self.ledger, self.clock.as_ref()).await {
            tracing::error!(error = chain(&error), "Expired entries and join tokens could not be removed");
        }
    }

    /// Replaces the CA and the server's SVID if they are due, and retires what was replaced.
    pub async fn rotate(&self) {
        match self.ca.rotate_if_due().await {
            Ok(true) => tracing::info!("Successfully rotated X.509 CA"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "The X.509 CA could not be rotated"),
        }
        self.ca.retire().await;
        match self.server_svid.rotate_if_due().await {
            Ok(true) => tracing::debug!("Rotated the server's own SVID"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "The server's own SVID could not be rotated"),
        }
    }
}

/// How much a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Nodes that attested, banned ones included.
    pub nodes: usize,
    /// Registration entries.
    pub entries: usize,
}

/// Why the services can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no CA.
    #[error("can't start the X.509 CA")]
    Ca(#[from] CaError),
    /// There is no SVID for the server itself.
    #[error("can't issue the server's own SVID")]
    ServerSvid(#[from] ServerSvidError),
}
