//! All services of a server, put together from a store, a key store and attestors that the program chose.

use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::node::NodeAttestor;
use plastron_spiffe::{Bundle, SpiffeId};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admission::NodeAdmission;
use crate::audit::{AuditLog, AuditSink, chain};
use crate::authorization::{Authorizer, Permit, rpc};
use crate::bundles::Bundles;
use crate::ca::{CaConfig, CaError, CaKeys, CertificateAuthority, SignError};
use crate::clock::Clock;
use crate::federation::Federation;
use crate::health::Health;
use crate::issuance::Issuance;
use crate::ledger::Ledger;
use crate::limits::{FOLLOW_PERIOD, HEARTBEAT_PERIOD};
use crate::local_authority::LocalAuthorities;
use crate::minting::Minting;
use crate::nesting::Nesting;
use crate::nodes::Nodes;
use crate::orphans::OrphanKeys;
use crate::pending::PendingTpms;
use crate::pruning::{SeenServers, prune};
use crate::registration::Registration;
use crate::server_svid::{ServerSvidError, ServerSvidSource};
use crate::store::StoreError;
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
    /// Lifetime of JWT-SVIDs whose entry has none (`default_jwt_svid_ttl`).
    pub default_jwt_svid_ttl: Duration,
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
    /// BatchNewX509SVID, NewJWTSVID.
    pub issuance: Issuance,
    /// MintX509SVID, MintJWTSVID.
    pub minting: Minting,
    /// NewDownstreamX509CA, PublishJWTAuthority.
    pub nesting: Nesting,
    /// The Bundle service.
    pub bundles: Bundles,
    /// The federated RPCs of the Bundle service, the TrustDomain service, and what fetches bundles.
    pub federation: Federation,
    /// The server's own SVID, for TLS.
    pub server_svid: ServerSvidSource,
    /// The CA.
    pub ca: Arc<CertificateAuthority>,
    /// The LocalAuthority service.
    pub local_authorities: LocalAuthorities,
    /// The push to agents.
    pub watchers: Arc<Watchers>,
    /// Keys that no journal refers to.
    pub orphans: OrphanKeys,
    /// Readiness.
    pub health: Health,
    /// The audit log, for what must not leave or be done unrecorded.
    pub audit: Arc<AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    rotation_tick: Duration,
    seen_servers: SeenServers,
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
        let ServicesConfig { ca, admin_ids, agent_ttl, default_x509_svid_ttl, default_jwt_svid_ttl } = config;
        let trust_domain = ca.trust_domain.clone();
        let shortest_window = (ca.ttl / 6).min(default_x509_svid_ttl / 2);
        let rotation_tick = (shortest_window / LOOKS_PER_WINDOW).clamp(Duration::from_millis(100), ROTATION_TICK);
        let audit = AuditLog::new(audit);
        let (ledger_of, clock_of, audit_of) = (|| Arc::clone(&ledger), || Arc::clone(&clock), || Arc::clone(&audit));
        let orphans = OrphanKeys::new(keys.clone(), ledger_of(), clock_of(), audit_of());
        let watchers = Watchers::new(ledger_of(), clock_of(), &trust_domain);
        let listeners = Arc::clone(&watchers);
        let opened = CertificateAuthority::open(ca, keys, ledger_of(), clock_of(), audit_of(), listeners).await?;
        let ca = Arc::new(opened);
        let present = || ServerSvidSource::start(Arc::clone(&ca), clock_of(), audit_of(), default_x509_svid_ttl);
        let server_svid = match present().await {
            // A CA in its last second is valid and can sign nothing: it is its successor's turn, or this server could not start.
            Err(ServerSvidError::Sign(SignError::Expired { .. })) => {
                ca.rotate_if_due().await?;
                present().await?
            }
            presented => presented?,
        };
        // Who prepares an authority from now on waits for this server; what others prepared before, it has before it serves anyone.
        ca.announce().await.map_err(StartError::Store)?;
        ledger.catch_up().await.map_err(StartError::Store)?;
        let admission = NodeAdmission::new(attestors, Arc::clone(&ca), ledger_of(), clock_of(), audit_of(), agent_ttl);
        Ok(Arc::new(Self {
            authorizer: Authorizer::new(ledger_of(), clock_of(), audit_of(), admin_ids),
            admission: Arc::new(admission),
            nodes: Nodes::new(ledger_of()),
            join_tokens: JoinTokens::new(ledger_of(), clock_of(), trust_domain.clone()),
            pending: PendingTpms::new(ledger_of(), clock_of()),
            registration: Registration::new(ledger_of(), clock_of(), trust_domain.clone()),
            minting: Minting::new(Arc::clone(&ca), audit_of(), default_x509_svid_ttl, default_jwt_svid_ttl),
            issuance: Issuance::new(
                Arc::clone(&ca),
                ledger_of(),
                clock_of(),
                audit_of(),
                default_x509_svid_ttl,
                default_jwt_svid_ttl,
            ),
            local_authorities: LocalAuthorities::new(Arc::clone(&ca), ledger_of(), Arc::clone(&watchers)),
            watchers,
            nesting: Nesting::new(Arc::clone(&ca), ledger_of(), clock_of(), audit_of()),
            bundles: Bundles::new(ledger_of(), trust_domain.clone()),
            federation: Federation::new(ledger_of(), audit_of(), trust_domain),
            orphans,
            health: Health::new(Arc::clone(&ca), ledger_of(), clock_of(), audit_of()),
            audit: audit_of(),
            server_svid,
            ca,
            ledger,
            clock,
            rotation_tick,
            seen_servers: SeenServers::default(),
        }))
    }

    /// What a client's SVID is verified against: the server's own bundle, and those of the foreign trust domains of `admin_ids`, as far as
    /// they are here. Whoever is let through and is no administrator has no more rights than someone without an SVID.
    pub fn trusted_bundles(&self) -> Vec<Arc<Bundle>> {
        let own = self.bundles.current();
        let foreign = self.authorizer.admin_domains();
        let foreign = foreign.into_iter().filter(|trust_domain| **trust_domain != own.trust_domain);
        let foreign = foreign.filter_map(|trust_domain| self.federation.bundle(trust_domain)).collect::<Vec<_>>();
        std::iter::once(own).chain(foreign).collect()
    }

    /// How much there is (Debug/GetInfo). Reads no database.
    pub fn info(&self, _permit: Permit<rpc::DebugGetInfo>) -> Inventory {
        let state = self.ledger.state();
        Inventory {
            nodes: state.count_nodes(|_node| true),
            entries: state.count_entries(|_entry| true),
            bundles: usize::from(state.bundle().is_some()) + state.count_federated_bundles(),
        }
    }

    /// Replaces authorities and the server's SVID when they are due, removes what has expired, follows what other servers commit, and
    /// tells agents what changed, until cancelled. Then other servers need not wait for this one any more.
    pub async fn maintain(self: Arc<Self>, cancelled: CancellationToken) {
        let watchers = self.watchers.follow(cancelled.clone());
        // Following goes on while a rotation waits: two servers that rotate at the same time wait for each other.
        tokio::join!(watchers, self.keep(cancelled.clone()), self.follow(cancelled));
        if let Err(error) = self.ca.leave().await {
            tracing::warn!(error = chain(&error), "Other servers can't be told that this one stops");
        }
    }

    async fn keep(&self, cancelled: CancellationToken) {
        let mut rotation = interval(self.rotation_tick);
        rotation.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pruning = tokio::time::interval_at(Instant::now() + PRUNING_PERIOD, PRUNING_PERIOD);
        pruning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revisions = self.ledger.revisions();
        let mut sequence = self.bundles.current().sequence_number;
        let mut upstream = self.ca.upstream_bundle();
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = moved(&mut upstream) => self.rotate().await,
                _ = rotation.tick() => {
                    self.heal_audit_log().await;
                    self.rotate().await;
                }
                Ok(()) = revisions.changed() => {
                    // An authority that was tainted or revoked does not sign until the next tick, nor does the server show its SVID.
                    let now = self.bundles.current().sequence_number;
                    if now != sequence {
                        sequence = now;
                        self.rotate().await;
                    }
                }
                _ = pruning.tick() => self.prune().await,
            }
        }
    }

    /// Takes over what another process wrote to the store, and what was committed although it was reported as failed; and tells other
    /// servers that this one is there and serves it.
    async fn follow(&self, cancelled: CancellationToken) {
        let mut period = interval(FOLLOW_PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut sequence, mut failing) = (None, 0, false);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = period.tick() => {}
            }
            let outcome = async {
                self.ledger.catch_up().await?;
                let served = self.bundles.current().sequence_number;
                if served != sequence || told.is_none_or(|told: Instant| told.elapsed() >= HEARTBEAT_PERIOD) {
                    self.ca.announce().await?;
                    (told, sequence) = (Some(Instant::now()), served);
                }
                Ok::<_, StoreError>(())
            };
            let outcome = outcome.await;
            let failed = outcome.is_err();
            match outcome {
                Ok(()) if failing => tracing::info!("The change log is followed again"),
                Ok(()) => {}
                Err(error) if failing => tracing::debug!(error = chain(&error), "The change log can't be followed"),
                Err(error) => tracing::error!(error = chain(&error), "The change log can't be followed"),
            }
            failing = failed;
        }
    }

    /// A sink that works again is found without anyone's call. Why it does not is told by `/ready`: the log is what can't be written.
    async fn heal_audit_log(&self) {
        let _still_broken = self.audit.check().await;
    }

    /// Removes what has expired.
    pub async fn prune(&self) {
        if let Err(error) = prune(&self.ledger, self.clock.as_ref(), &self.seen_servers).await {
            tracing::error!(error = chain(&error), "Expired entries and join tokens could not be removed");
        }
    }

    /// Replaces authorities and the server's SVID if they are due, and retires what was replaced.
    pub async fn rotate(&self) {
        if let Err(error) = self.ca.follow_upstream().await {
            tracing::error!(error = chain(&error), "The upstream authority's bundle can't be followed");
        }
        match self.ca.rotate_if_due().await {
            Ok(true) => tracing::info!("Successfully rotated X.509 CA"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "Unable to rotate X509 CA"),
        }
        match self.ca.rotate_jwt_if_due().await {
            Ok(true) => tracing::info!("Successfully rotated JWT key"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "Unable to rotate JWT key"),
        }
        self.ca.retire().await;
        match self.server_svid.rotate_if_due().await {
            Ok(true) => tracing::debug!("Rotated the server's own SVID"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "The server's own SVID could not be rotated"),
        }
    }
}

/// Returns when the upstream's bundle has changed; never where the upstream has none.
async fn moved<T>(upstream: &mut Option<watch::Receiver<T>>) {
    if let Some(bundle) = upstream
        && bundle.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// How much a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Nodes that attested, banned ones included.
    pub nodes: usize,
    /// Registration entries.
    pub entries: usize,
    /// Bundles, the own one included, as SPIRE counts them.
    pub bundles: usize,
}

/// Why the services can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no CA.
    #[error("can't start the CA")]
    Ca(#[from] CaError),
    /// The other servers can't be told of this one.
    #[error("can't tell other servers that this one is there")]
    Store(#[source] StoreError),
    /// There is no SVID for the server itself.
    #[error("can't issue the server's own SVID")]
    ServerSvid(#[from] ServerSvidError),
}
