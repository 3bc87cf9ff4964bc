//! Puts the server together, serves, and ends in order.

mod federation;
mod health;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_daemon::health::HealthError;
use plastron_daemon::logging::{AUDIT_TARGET, Log};
use plastron_daemon::metrics::{Exporter, MetricsError, Own, OwnNow, Program};
use plastron_daemon::shutdown::{DRAIN_LIMIT, drain, stop_token};
use plastron_hsm::{KeyStore, KeyStoreError};
use plastron_plugins::node::{EnrolledTpms, KeptEventLogs, TrustBundle};
use plastron_server_api::{Api, ServeError};
use plastron_server_core::ca::CaKeys;
use plastron_server_core::clock::SystemClock;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::store::StoreError;
use plastron_server_core::{Services, StartError};
use plastron_spiffe::x509::{SvidError, X509Svid};
use plastron_spiffe::{Bundle, SpiffeIdError};
use plastron_transport::{
    BindError, BundleSlot, IdentityError, IdentitySlot, ServerTls, SocketModes, TlsIdentity, UnixSocket,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditedLog;
use crate::catalog::{AttestorsError, NodeAttestors, OpenedKeys, OpenedUpstream};
use crate::config::Settings;
use crate::log_level::LogLevelOf;
use federation::Federation;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("can't make the data directory {path:?}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("can't take signals")]
    Signals(#[source] io::Error),
    #[error("can't open the data store")]
    Store(#[from] StoreError),
    #[error("can't open the key manager")]
    Keys(#[from] KeyStoreError),
    #[error("the task that opened the key manager was interrupted")]
    Interrupted,
    #[error(transparent)]
    Attestors(#[from] AttestorsError),
    #[error("the upstream server has no SPIFFE ID")]
    Upstream(#[from] SpiffeIdError),
    #[error("can't start")]
    Start(#[from] StartError),
    #[error("the server's own SVID can't be used")]
    Svid(#[from] SvidError),
    #[error("the server's own SVID can't be used")]
    Identity(#[from] IdentityError),
    #[error("can't listen on {address}:{port}")]
    Bind { address: String, port: u16, source: io::Error },
    #[error("can't listen on the admin socket")]
    Socket(#[from] BindError),
    #[error("federation")]
    Federation(#[from] federation::FederationError),
    #[error("health_checks")]
    Health(#[from] HealthError),
    #[error("telemetry")]
    Metrics(#[from] MetricsError),
    #[error("Server APIs stopped prematurely")]
    Serve(#[from] ServeError),
}

/// Serves until a signal says stop, or a listener fails.
pub(crate) async fn run(settings: Settings, log: Log) -> Result<(), RunError> {
    let stop = stop_token().map_err(RunError::Signals)?;
    log.reopen.on_signal().map_err(RunError::Signals)?;
    for warning in &settings.warnings {
        tracing::warn!(warning, "Configuration");
    }
    // Before anything counts.
    let domain = settings.services.ca.trust_domain.clone();
    let program = Program { prefix: "spire_server", trust_domain: domain.as_str(), version: env!("CARGO_PKG_VERSION") };
    let exporter = Exporter::install(&settings.telemetry, program).await?;
    make_data_dir(&settings.data_dir)?;
    let catalog = Arc::new(settings.catalog);
    let store = Arc::new(catalog.store().await?);
    let OpenedKeys { store: keys, device } = {
        let catalog = Arc::clone(&catalog);
        tokio::task::spawn_blocking(move || catalog.key_store()).await.map_err(|_panic| RunError::Interrupted)??
    };
    record_custody(keys.as_ref());
    let ledger = Ledger::open(Arc::clone(&store) as Arc<_>).await?;
    let known: Arc<dyn EnrolledTpms> = ledger.state().clone();
    let logs: Arc<dyn KeptEventLogs> = ledger.clone();
    let bundle: Arc<dyn TrustBundle> = ledger.state().clone();
    let NodeAttestors { all: attestors, judge } = catalog.node_attestors(&known, &logs, &bundle)?;
    let mut keys = CaKeys::destructible(keys);
    if let Some(OpenedUpstream { authority, server }) = catalog.upstream(&settings.services.ca.trust_domain)? {
        keys = keys.below(Some(authority)).below_server(server);
    }
    let (clock, audit) = (Arc::new(SystemClock), Arc::new(AuditedLog(log.audit)));
    let services = Services::start(settings.services, ledger, keys, attestors, clock, audit).await?;
    // Before anyone may call: what was enrolled under a pool or root that is gone, or is on the deny list by now.
    if let Some(judge) = judge {
        services.admission.judge_enrolled(judge.as_ref()).await;
    }
    let tls = Tls::new(&services)?;

    let (address, port) = (settings.bind_address, settings.bind_port);
    let listener = TcpListener::bind((address.as_str(), port)).await.map_err(|source| RunError::Bind {
        address: address.clone(),
        port,
        source,
    })?;
    let socket = UnixSocket::bind(&settings.socket_path, SocketModes::PRIVATE)?;
    let health = settings.health_checks.bind().await?;
    let federation = Federation::bind(settings.federation, &services, &tls.identity).await?;

    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let api = Api::new(Arc::clone(&services), settings.rate_limits, Arc::new(LogLevelOf(log.level)));
    let bound = listener.local_addr().map_or_else(|_| format!("{address}:{port}"), |bound| bound.to_string());
    tracing::info!(address = bound, network = "tcp", "Starting Server APIs");
    tracing::info!(address = %settings.socket_path.display(), network = "unix", "Starting Server APIs");
    let proxies = settings.trusted_proxies;
    let over_tls = tasks.spawn(api.clone().serve_tls(listener, tls.server.clone(), proxies, ended.clone()));
    let over_unix = tasks.spawn(api.serve_unix(socket, ended.clone()));
    if let Some(exporter) = exporter {
        tasks.spawn(exporter.serve(tls.own(), ended.clone()));
    }
    tasks.spawn(Arc::clone(&services).maintain(ended.clone()));
    if let Some(rule) = settings.node_pruning {
        tasks.spawn(Arc::clone(&services).keep_pruning_nodes(rule, ended.clone()));
    }
    tasks.spawn(tls.follow(Arc::clone(&services), ended.clone()));
    federation.spawn(&tasks, &ended);
    if let Some(health) = health {
        tasks.spawn(health.serve(health::checks(&services, device), ended.clone()));
    }

    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        served = over_tls => premature(served),
        served = over_unix => premature(served),
    };
    tracing::info!("Stopping Server APIs");
    ended.cancel();
    drain(&tasks, DRAIN_LIMIT).await;
    // What is committed is on the disk already; a task that outlived the limit must not hold up the end.
    let _late = tokio::time::timeout(std::time::Duration::from_secs(1), store.close()).await;
    tracing::info!("Server APIs have stopped");
    outcome
}

fn premature(served: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), RunError> {
    match served {
        Ok(served) => Ok(served?),
        Err(_panic) => Err(RunError::Interrupted),
    }
}

/// Makes the directory where it is missing; the umask keeps others out.
fn make_data_dir(path: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(path).map_err(|source| RunError::DataDir { path: path.to_owned(), source })
}

/// Where the CA's keys live, for the auditor.
fn record_custody(keys: &dyn KeyStore) {
    let identity = keys.identity();
    let details = identity.details.iter().map(|(name, value)| format!("{name}={}", value.escape_debug()));
    tracing::info!(
        target: AUDIT_TARGET,
        r#type = "audit",
        event = "key store opened",
        kind = identity.kind,
        name = %identity.name.escape_debug(),
        non_extractable = identity.non_extractable,
        details = details.collect::<Vec<_>>().join(" "),
        "Key store opened"
    );
}

/// The server's half of TLS, and what it presents and trusts.
struct Tls {
    server: ServerTls,
    identity: Arc<IdentitySlot>,
    bundles: Arc<BundleSlot>,
}

impl Tls {
    fn new(services: &Services) -> Result<Self, RunError> {
        let identity = IdentitySlot::new(present(services)?);
        let bundles = BundleSlot::new(copies(&services.trusted_bundles()));
        let server = ServerTls::new(Arc::clone(&identity), Arc::clone(&bundles));
        Ok(Self { server, identity, bundles })
    }

    /// What a listener for metrics shows and believes where it is told to: the same.
    fn own(&self) -> OwnNow {
        let own = Own { identity: Arc::clone(&self.identity), bundles: Arc::clone(&self.bundles) };
        Arc::new(move || Some(own.clone()))
    }

    /// Presents each new SVID and trusts each new bundle from then on.
    async fn follow(self, services: Arc<Services>, ended: CancellationToken) {
        let mut svids = services.server_svid.subscribe();
        let mut revisions = services.ledger.revisions();
        let mut trusted = Vec::new();
        // Since `new` time has passed, and a watch shows only what changes after it was made.
        svids.mark_changed();
        revisions.mark_changed();
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                changed = svids.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    match present(&services) {
                        Ok(identity) => self.identity.replace(identity),
                        Err(error) => tracing::error!(
                            reason = plastron_daemon::config::explain(&error),
                            "The server's new SVID can't be presented"
                        ),
                    }
                }
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = services.trusted_bundles();
                    if trusted != now {
                        self.bundles.replace(copies(&now));
                        trusted = now;
                    }
                }
            }
        }
    }
}

fn copies(bundles: &[Arc<Bundle>]) -> Vec<Bundle> {
    bundles.iter().map(|bundle| bundle.as_ref().clone()).collect()
}

fn present(services: &Services) -> Result<TlsIdentity, RunError> {
    let svid = services.server_svid.subscribe().borrow().clone();
    let parsed = X509Svid::parse(svid.chain.clone())?;
    Ok(TlsIdentity::new(&parsed, &svid.private_key)?)
}

#[cfg(test)]
mod tests;
