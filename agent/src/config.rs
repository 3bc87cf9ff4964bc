//! The configuration: SPIRE's keys and defaults for what exists (spire-agent's `agent`, `plugins` and `health_checks` blocks). Two
//! types: [`RawConfig`] as the file says it, [`Config`] as the program needs it. Nothing is opened here but the file itself.

mod admin;
mod bootstrap;
mod missing;
mod offers;
mod raw;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use plastron_agent_bootstrap::Source as BundleSource;
use plastron_agent_core::{Rebootstrap, SvidKeyType};
use plastron_agent_workload_api::{Limited, Offers};
use plastron_daemon::config::{LoadError, Loaded, Source, Strictness, load};
use plastron_daemon::health::{HealthError, RawHealthChecks};
use plastron_daemon::logging::LogOptions;
use plastron_daemon::metrics::TelemetrySettings;
use plastron_daemon::plugins::{self, Plugin};
use plastron_hcl1::{ConfigError, Located, Notice, Place};
use plastron_spiffe::TrustDomain;
use zeroize::Zeroizing;

pub(crate) use self::admin::Admin;
use crate::arguments::Overrides;
use raw::{RawAgent, RawConfig, RawExperimental};

/// SPIRE's defaults.
const DEFAULT_DATA_DIR: &str = ".";
const DEFAULT_SOCKET: &str = plastron_agent_cli::DEFAULT_SOCKET;
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_X509_SVID_CACHE: usize = 1000;
const DEFAULT_JWT_SVID_CACHE: usize = 1000;
const DEFAULT_JWT_SVID_CACHE_HIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of the synchronisation interval: below, the server has more to do than the agent learns; above, a removed entry serves on.
const SYNC_INTERVAL_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// SPIRE's: below, half of an SVID's life does as well.
const SHORTEST_AVAILABILITY_TARGET: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the time that a new JWT-SVID is waited for while a valid one is held: SPIRE's.
const JWT_SVID_CACHE_HIT_RANGE: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(30);

/// Where SPIRE lets unknown keys pass.
const TOLERANT: &[&str] = &["agent.experimental", "agent.sds", "telemetry", "telemetry.Prometheus.tls"];
/// Where, below those, it does not.
const STRICT: &[&str] = &[
    "agent.experimental.broker",
    "agent.experimental.ratelimit",
    "telemetry.Prometheus",
    "telemetry.DogStatsd",
    "telemetry.Statsd",
    "telemetry.M3",
    "telemetry.InMem",
];

/// The configuration of an agent.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) server_address: String,
    pub(crate) server_port: u16,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) socket_path: PathBuf,
    pub(crate) admin: Option<Admin>,
    /// X.509-SVIDs are to outlast an outage of the server of this length.
    pub(crate) availability_target: Option<Duration>,
    /// What verifies the server at the first attestation.
    pub(crate) bootstrap: BundleSource,
    /// Whether that counts again later.
    pub(crate) rebootstrap: Rebootstrap,
    pub(crate) join_token: JoinToken,
    pub(crate) log: LogOptions,
    pub(crate) workload_key_type: SvidKeyType,
    pub(crate) x509_svid_cache_max_size: usize,
    pub(crate) jwt_svid_cache_max_size: usize,
    pub(crate) jwt_svid_cache_hit_timeout: Duration,
    /// Claims of foreign tokens that workloads are shown besides `sub`, `aud` and `exp`.
    pub(crate) allowed_foreign_jwt_claims: Vec<String>,
    pub(crate) allow_unauthenticated_verifiers: bool,
    /// How often workloads may call.
    pub(crate) rate_limits: Vec<(Limited, u32)>,
    /// Selectors that may be logged begin so.
    pub(crate) log_selectors: Vec<String>,
    /// What the workloads' socket offers; without any, there is no socket.
    pub(crate) offers: Option<Offers>,
    pub(crate) sync_interval: Duration,
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) health: RawHealthChecks,
    pub(crate) telemetry: TelemetrySettings,
    /// What the operator should hear of once there is a log.
    pub(crate) warnings: Vec<String>,
}

/// Where a join token comes from.
pub(crate) enum JoinToken {
    Literal(Zeroizing<String>),
    File(PathBuf),
    Absent,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Absent => f.write_str("Absent"),
        }
    }
}

/// What the program shows of itself.
struct Observed {
    health: RawHealthChecks,
    telemetry: TelemetrySettings,
}

/// How strict the command line wants its file read.
pub(crate) fn strictness(overrides: &Overrides) -> Strictness<'static> {
    if overrides.strict { Strictness::Strict } else { Strictness::Usual { tolerant: TOLERANT, strict: STRICT } }
}

impl Config {
    /// Reads the file that the command line names; flags win over it.
    pub(crate) fn load(overrides: &Overrides) -> Result<Self, ConfigProblem> {
        let strictness = strictness(overrides);
        let Loaded { config, warnings: notices } =
            load::<RawConfig>(&Source { path: &overrides.config, expand_env: overrides.expand_env, strictness })?;
        let mut warnings: Vec<String> = notices.iter().map(Notice::to_string).collect();
        let RawConfig { agent, plugins, telemetry, health_checks } = config;
        let agent = agent.unwrap_or_default().without_empty();
        missing::refuse(&agent, &telemetry)?;
        let telemetry = TelemetrySettings::try_from(&telemetry)?;
        warnings.extend(missing::without_effect(&agent));
        let (plugins, notices) = match plugins {
            Some(plugins) => plugins::read(&plugins, &strictness)?,
            None => (Vec::new(), Vec::new()),
        };
        warnings.extend(notices.iter().map(Notice::to_string));
        health_checks.validate()?;
        Self::assemble(agent, overrides, plugins, Observed { health: health_checks, telemetry }, warnings)
    }

    fn assemble(
        raw: RawAgent,
        flags: &Overrides,
        plugins: Vec<Plugin>,
        Observed { health, telemetry }: Observed,
        warnings: Vec<String>,
    ) -> Result<Self, ConfigProblem> {
        let bootstrap = bootstrap::source(&raw, flags)?;
        let rebootstrap = bootstrap::again(&raw, flags)?;
        let offers = offers::read(&raw, flags);
        let RawAgent {
            data_dir,
            log_file,
            log_format,
            log_level,
            log_source_location,
            server_address,
            server_port,
            socket_path,
            join_token,
            join_token_file,
            trust_domain,
            workload_x509_svid_key_type,
            x509_svid_cache_max_size,
            jwt_svid_cache_max_size,
            allowed_foreign_jwt_claims,
            allow_unauthenticated_verifiers,
            admin_socket_path,
            authorized_delegates,
            availability_target,
            log_selectors,
            experimental: RawExperimental { sync_interval, jwt_svid_cache_hit_timeout, ratelimit, .. },
            // Read by `bootstrap` and `offers`, refused by `missing`, or without effect.
            ..
        } = raw;
        let log_level = Chosen::of("logLevel", flags.log_level.as_ref(), log_level);
        let log_format = Chosen::of("logFormat", flags.log_format.as_ref(), log_format);
        let log = LogOptions {
            level: log_level.map(|level| level.parse(|text| text.parse())).transpose()?.unwrap_or_default(),
            format: log_format.map(|format| format.parse(|text| text.parse())).transpose()?.unwrap_or_default(),
            file: flags.log_file.clone().or(log_file),
            source_location: flags.log_source_location || log_source_location,
        };
        let server_port =
            Chosen::of("serverPort", flags.server_port.as_ref(), server_port).ok_or(missing("server_port", ""))?;
        let trust_domain = Chosen::of("trustDomain", flags.trust_domain.as_ref(), trust_domain)
            .ok_or(missing("trust_domain", ""))?
            .parse(|text| TrustDomain::parse(text))?;
        let socket_path = flags.socket_path.clone().or(socket_path).unwrap_or_else(|| DEFAULT_SOCKET.into());
        Ok(Self {
            admin: admin::admin(admin_socket_path, authorized_delegates, &socket_path, &trust_domain)?,
            availability_target: availability_target.map(|text| self::availability_target(&text)).transpose()?,
            data_dir: flags.data_dir.clone().or(data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            server_address: Chosen::of("serverAddress", flags.server_address.as_ref(), server_address)
                .ok_or(missing("server_address", ""))?
                .parse(|text| host(text))?,
            server_port: server_port.parse(|port| if *port == 0 { Err("a port is not 0") } else { Ok(*port) })?,
            trust_domain,
            socket_path,
            bootstrap,
            rebootstrap,
            join_token: self::join_token(flags, join_token, join_token_file)?,
            log,
            workload_key_type: workload_x509_svid_key_type.map_or(Ok(SvidKeyType::default()), |name| {
                SvidKeyType::from_name(&name).ok_or_else(|| name.refuse("use ec-p256, ec-p384 or rsa-2048"))
            })?,
            x509_svid_cache_max_size: x509_svid_cache_max_size.map_or(DEFAULT_X509_SVID_CACHE, |size| size.value),
            jwt_svid_cache_max_size: jwt_svid_cache_max_size.map_or(DEFAULT_JWT_SVID_CACHE, |size| size.value),
            jwt_svid_cache_hit_timeout: jwt_svid_cache_hit_timeout
                .map_or(Ok(DEFAULT_JWT_SVID_CACHE_HIT_TIMEOUT), |text| cache_hit_timeout(&text))?,
            allowed_foreign_jwt_claims,
            allow_unauthenticated_verifiers: flags.allow_unauthenticated_verifiers || allow_unauthenticated_verifiers,
            rate_limits: ratelimit.limits()?,
            log_selectors: log_selectors.map(|prefixes| prefixes.value).unwrap_or_default(),
            offers,
            sync_interval: sync_interval.map_or(Ok(DEFAULT_SYNC_INTERVAL), |text| interval(&text))?,
            plugins,
            health,
            telemetry,
            warnings,
        })
    }
}

fn join_token(
    flags: &Overrides,
    token: Option<Located<String>>,
    file: Option<Located<PathBuf>>,
) -> Result<JoinToken, ConfigProblem> {
    // A flag replaces whatever the file says, so that one configuration serves many nodes.
    match (&flags.join_token, &flags.join_token_file) {
        (Some(token), None) => return Ok(JoinToken::Literal(Zeroizing::new(token.clone()))),
        (None, Some(path)) => return Ok(JoinToken::File(path.clone())),
        (Some(_), Some(_)) => {
            return Err(ConfigProblem::Flag { flag: "joinToken", problem: "-joinTokenFile is given too".to_owned() });
        }
        (None, None) => {}
    }
    match (token, file) {
        (Some(token), None) => Ok(JoinToken::Literal(Zeroizing::new(token.value))),
        (None, Some(file)) => Ok(JoinToken::File(file.value)),
        (Some(_), Some(file)) => Err(file.refuse("join_token is given too; choose one").into()),
        (None, None) => Ok(JoinToken::Absent),
    }
}

/// A host name or an address, without a port and without brackets.
fn host(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if bare.parse::<IpAddr>().is_ok() || (!bare.is_empty() && bare.bytes().all(name)) {
        Ok(bare.to_owned())
    } else {
        Err("must be a host name or an IP address, without a port")
    }
}

fn interval(text: &Located<String>) -> Result<Duration, ConfigError> {
    let interval = plastron_agent_cli::parse_duration(text).map_err(|problem| text.refuse(problem))?;
    if SYNC_INTERVAL_RANGE.contains(&interval) { Ok(interval) } else { Err(text.refuse("must be between 1s and 1h")) }
}

fn availability_target(text: &Located<String>) -> Result<Duration, ConfigError> {
    let target = plastron_agent_cli::parse_duration(text).map_err(|problem| text.refuse(problem))?;
    if target >= SHORTEST_AVAILABILITY_TARGET {
        Ok(target)
    } else {
        Err(text.refuse("availability_target must be at least 24h0m0s"))
    }
}

fn cache_hit_timeout(text: &Located<String>) -> Result<Duration, ConfigError> {
    let timeout = plastron_agent_cli::parse_duration(text).map_err(|problem| text.refuse(problem))?;
    if JWT_SVID_CACHE_HIT_RANGE.contains(&timeout) {
        Ok(timeout)
    } else {
        Err(text.refuse("must be at least 5s and less than 30s"))
    }
}

fn missing(key: &'static str, remedy: &'static str) -> ConfigProblem {
    ConfigProblem::Missing { key, remedy }
}

/// A value, and where the operator wrote it.
struct Chosen<T> {
    value: T,
    origin: Origin,
}

enum Origin {
    Flag(&'static str),
    File(Place),
}

impl<T: Clone> Chosen<T> {
    /// The flag if it is given, else the file's value.
    fn of(flag: &'static str, given: Option<&T>, file: Option<Located<T>>) -> Option<Self> {
        let given = given.map(|value| Self { value: value.clone(), origin: Origin::Flag(flag) });
        given.or_else(|| file.map(|Located { value, place }| Self { value, origin: Origin::File(place) }))
    }

    fn parse<U, E: std::fmt::Display>(self, parse: impl FnOnce(&T) -> Result<U, E>) -> Result<U, ConfigProblem> {
        parse(&self.value).map_err(|problem| match self.origin {
            Origin::Flag(flag) => ConfigProblem::Flag { flag, problem: problem.to_string() },
            Origin::File(place) => place.refuse(problem).into(),
        })
    }
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigProblem {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Value(#[from] ConfigError),
    #[error("health_checks")]
    Health(#[from] HealthError),
    #[error("-{flag}: {problem}")]
    Flag { flag: &'static str, problem: String },
    #[error("agent.{key} is missing{remedy}")]
    Missing { key: &'static str, remedy: &'static str },
}

#[cfg(test)]
mod tests;
