//! Assembles an agent from its configuration and runs it until it is told to stop or has to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use plastron_agent_bootstrap::{ConfiguredSource, Source, SourceError};
use plastron_agent_core::jwt::JwtSvids;
use plastron_agent_core::{
    Agent, AgentError, AgentInfo, BootstrapAttempt, BootstrapReason, Clock, DataDir, PersistError, Readiness, Settings,
    WorkloadIdentities,
};
use plastron_agent_upstream::{GrpcUpstream, tls_identity};
use plastron_agent_workload_api::{
    Access, BundleAccess, ForeignClaims, RateLimits, ServeError, WorkloadApi, WorkloadApiServer,
};
use plastron_daemon::config::explain;
use plastron_daemon::health::{Checks, HealthError};
use plastron_daemon::logging::{self, LoggingError};
use plastron_daemon::metrics::{Exporter, MetricsError, Own, OwnNow, Program};
use plastron_daemon::shutdown::{DRAIN_LIMIT, drain, stop_token};
use plastron_spiffe::SpiffeIdError;
use plastron_transport::{BundleSlot, IdentitySlot};
use rustls_pki_types::UnixTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arguments::Overrides;
use crate::catalog::{Catalog, CatalogProblem, OpenAttestor};
use crate::config::{Config, ConfigProblem, strictness};
use crate::{admin, tpm};

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        UnixTime::now()
    }
}

/// Reads and understands the configuration; opens nothing else.
pub(crate) fn read(overrides: &Overrides) -> Result<(Config, Catalog), RunError> {
    let mut config = Config::load(overrides)?;
    let (catalog, notices) = Catalog::read(&config.plugins, &strictness(overrides))?;
    config.warnings.extend(notices.iter().map(ToString::to_string));
    Ok((config, catalog))
}

/// Runs the agent. Returns without an error only after SIGTERM or SIGINT.
pub(crate) async fn run(overrides: &Overrides) -> Result<(), RunError> {
    let (config, catalog) = read(overrides)?;
    let log = logging::start(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!(warning, "Configuration");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), trust_domain_id = %config.trust_domain.id(), data_dir = %config.data_dir.display(),
        "Starting agent"
    );
    log.reopen.on_signal().map_err(RunError::Runtime)?;
    let stop = stop_token().map_err(RunError::Runtime)?;
    let started = Instant::now();
    // Before anything counts.
    let program = Program {
        prefix: "spire_agent",
        trust_domain: config.trust_domain.as_str(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let exporter = Exporter::install(&config.telemetry, program).await?;
    let bootstrap = bootstrap(&config).await?;
    let (agent, identities) = assemble(&config, &catalog, bootstrap)?;
    let (jwt_svids, info) = (agent.jwt_svids(), agent.info());
    let tasks = TaskTracker::new();
    if let Some(health) = config.health.bind().await? {
        tasks.spawn(health.serve(checks(&identities), stop.clone()));
    }
    if let Some(exporter) = exporter {
        tasks.spawn(exporter.serve(own(info.clone()), stop.clone()));
    }
    let outcome = tokio::select! {
        error = agent.run() => Err(RunError::Agent(error)),
        result = async {
            let Some(api) = workload_api(&config, &catalog, identities, jwt_svids).await else {
                // The agent has ended and says why.
                return std::future::pending().await;
            };
            if let Some(admin) = &config.admin {
                admin::serve(admin, api.clone(), info, log.level.clone(), started, &tasks, &stop)?;
            }
            serve_workloads(&config, api, &tasks, &stop).await
        } => result,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = &outcome {
        tracing::error!(error = explain(error), "Agent crashed");
    }
    stop.cancel();
    drain(&tasks, DRAIN_LIMIT).await;
    if outcome.is_ok() {
        tracing::info!("Agent stopped gracefully");
    }
    outcome
}

fn assemble(
    config: &Config,
    catalog: &Catalog,
    bootstrap: ConfiguredSource,
) -> Result<(Agent, WorkloadIdentities), RunError> {
    let data = DataDir::open(&config.data_dir, catalog.keys())?;
    let OpenAttestor { attestor, held_keys } = catalog.node_attestor(config)?;
    let upstream = GrpcUpstream::new(&config.server_address, config.server_port, config.trust_domain.clone())?;
    let settings = Settings {
        trust_domain: config.trust_domain.clone(),
        bootstrap: Arc::new(bootstrap),
        rebootstrap: config.rebootstrap,
        sync_interval: config.sync_interval,
        availability_target: config.availability_target,
        x509_svid_cache_max_size: config.x509_svid_cache_max_size,
        jwt_svid_cache_max_size: config.jwt_svid_cache_max_size,
        jwt_svid_cache_hit_timeout: config.jwt_svid_cache_hit_timeout,
        workload_key_type: config.workload_key_type,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (agent, identities) = Agent::new(settings, Arc::new(upstream), attestor, data, Arc::new(SystemClock));
    Ok(match held_keys {
        Some(held_keys) => (agent.with_held_keys(held_keys), identities),
        None => (agent, identities),
    })
}

/// What a listener for metrics shows and believes where it is told to: the agent's SVID and the bundles that it holds.
fn own(info: AgentInfo) -> OwnNow {
    Arc::new(move || {
        let (caller, foreign) = info.caller()?;
        match tls_identity(&caller.svid) {
            Ok(identity) => {
                let bundles = foreign.iter().chain([&caller.bundle]).map(|bundle| bundle.as_ref().clone());
                Some(Own { identity: IdentitySlot::new(identity), bundles: BundleSlot::new(bundles) })
            }
            Err(error) => {
                tracing::warn!(error = explain(&error), "The agent's SVID can't be shown to who fetches metrics");
                None
            }
        }
    })
}

/// The Workload API once there is something to serve: clients that come before find no socket, and try again. `None` where the agent
/// ended before.
async fn workload_api(
    config: &Config,
    catalog: &Catalog,
    identities: WorkloadIdentities,
    jwt_svids: JwtSvids,
) -> Option<WorkloadApi> {
    if !identities.synchronised().await {
        return None;
    }
    let bundles = match config.allow_unauthenticated_verifiers {
        true => BundleAccess::AnyLocalProcess,
        false => BundleAccess::IdentifiedWorkloads,
    };
    let foreign_claims = ForeignClaims::allow(config.allowed_foreign_jwt_claims.iter().cloned());
    for (method, limit) in &config.rate_limits {
        tracing::info!(method = method.path(), limit, "Workload API/SDS rate limiting enabled");
    }
    let rate_limits = RateLimits::per_second(config.rate_limits.iter().copied());
    let access = Access { bundles, foreign_claims, rate_limits, logged_selectors: config.log_selectors.clone() };
    Some(WorkloadApi::new(catalog.workload_attestation(), identities, jwt_svids, Arc::new(SystemClock), access))
}

/// Until the program ends.
async fn serve_workloads(
    config: &Config,
    api: WorkloadApi,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let Some(offers) = config.offers.clone() else {
        stop.cancelled().await;
        return Ok(());
    };
    let socket = std::path::absolute(&config.socket_path)
        .map_err(|source| RunError::SocketPath { path: config.socket_path.clone(), source })?;
    let server = WorkloadApiServer::bind(&socket, api)?.offering(offers);
    let serving = tasks.spawn(server.serve(stop.clone().cancelled_owned()));
    serving.await.map_err(|_| RunError::Interrupted)??;
    Ok(())
}

/// The source of the bundle to begin with. A file that is not there, or is no bundle, is told at once: a person waits for that.
async fn bootstrap(config: &Config) -> Result<ConfiguredSource, RunError> {
    let source = ConfiguredSource {
        source: config.bootstrap.clone(),
        trust_domain: config.trust_domain.clone(),
        server_address: config.server_address.clone(),
        server_port: config.server_port,
    };
    if let Source::File { .. } = source.source {
        let (reason, since) = (BootstrapReason::Bootstrap, UnixTime::now());
        source.get(BootstrapAttempt { reason, number: 1, since }).await?;
    }
    Ok(source)
}

fn checks(identities: &WorkloadIdentities) -> Checks {
    let identities = identities.clone();
    Checks::builder()
        .live("process", || async { Ok(()) })
        .ready("agent", move || {
            let readiness = identities.readiness();
            async move {
                match readiness {
                    Readiness::Ready => Ok(()),
                    Readiness::Starting => Err("not attested and synchronised with the server yet".to_owned()),
                    Readiness::CutOff => Err("the server denies this node; its audit log says why".to_owned()),
                }
            }
        })
        .build()
}

/// Why the agent does not run, or runs no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    #[error(transparent)]
    Catalog(#[from] CatalogProblem),
    #[error("can't start the log")]
    Logging(#[from] LoggingError),
    #[error("can't start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Bootstrap(#[from] SourceError),
    #[error("socket_path {path:?} can't be resolved from the working directory")]
    SocketPath { path: PathBuf, source: io::Error },
    #[error("the trust domain's name is too long for an agent's ID")]
    TrustDomain(#[from] SpiffeIdError),
    #[error("can't open the data directory")]
    Data(#[from] PersistError),
    #[error("can't open the TPM")]
    Tpm(#[from] tpm::OpenError),
    #[error("can't serve health checks")]
    Health(#[from] HealthError),
    #[error("telemetry")]
    Metrics(#[from] MetricsError),
    #[error("can't serve workloads")]
    WorkloadApi(#[from] ServeError),
    #[error("the Workload API ended abnormally")]
    Interrupted,
    #[error("the agent had to end")]
    Agent(#[from] AgentError),
}
