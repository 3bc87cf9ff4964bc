//! The server's configuration: SPIRE's file, keys and defaults, into types that the rest of the program can't misread.
//!
//! `raw` is the file as written; [`load`] makes [`Settings`] of it, or says with file, line and column what is wrong. Flags win over the
//! file, the file over defaults. A key of SPIRE's for something that this server does not do is refused by name, not ignored. Nothing is
//! opened here but the file.

mod federation;
mod flags;
mod missing;
mod pruning;
mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use plastron_daemon::config::{LoadError, Source, Strictness};
use plastron_daemon::health::{HealthError, RawHealthChecks};
use plastron_daemon::logging::LogOptions;
use plastron_daemon::metrics::TelemetrySettings;
use plastron_hcl1::{Located, Place};
use plastron_hsm::KeyType;
use plastron_server_api::RateLimits;
use plastron_server_core::ServicesConfig;
use plastron_server_core::authority::guaranteed_svid_ttl;
use plastron_server_core::ca::{CaConfig, CaSubject};
use plastron_server_core::pruning::NodePruning;
use plastron_spiffe::{SpiffeId, TrustDomain};
use plastron_transport::TrustedProxies;

use crate::catalog::Catalog;
pub(crate) use federation::{EndpointSettings, FederationSettings, Presents};
pub(crate) use flags::Flags;
use raw::{RawFile, RawServer};

const DEFAULT_BIND_ADDRESS: &str = "0.0.0.0";
const DEFAULT_BIND_PORT: u16 = 8081;
const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-server/private/api.sock";
const DEFAULT_X509_SVID_TTL: Duration = Duration::from_secs(3600);
const DEFAULT_JWT_SVID_TTL: Duration = Duration::from_secs(300);
const DEFAULT_CA_TTL: Duration = Duration::from_secs(24 * 3600);

/// Where SPIRE lets unknown keys pass.
const TOLERANT: &[&str] = &[
    "server.experimental",
    "server.federation",
    "server.federation.bundle_endpoint.profile",
    "telemetry",
    "telemetry.Prometheus.tls",
];
/// Where, below those, it does not.
const STRICT: &[&str] = &[
    "server.federation.bundle_endpoint",
    "telemetry.Prometheus",
    "telemetry.DogStatsd",
    "telemetry.Statsd",
    "telemetry.M3",
    "telemetry.InMem",
];

/// What the server is to do.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) bind_address: String,
    pub(crate) bind_port: u16,
    /// Who may say for whom it connects.
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) socket_path: PathBuf,
    pub(crate) services: ServicesConfig,
    pub(crate) rate_limits: RateLimits,
    pub(crate) node_pruning: Option<NodePruning>,
    pub(crate) log: LogOptions,
    pub(crate) health_checks: RawHealthChecks,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) catalog: Catalog,
    pub(crate) federation: FederationSettings,
    /// To be logged once there is a log.
    pub(crate) warnings: Vec<String>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Something that must be there is not.
    #[error("{what} must be configured")]
    Missing { what: &'static str },
    /// A flag whose value can't be used.
    #[error("flag -{flag}: {problem}")]
    Flag { flag: &'static str, problem: String },
    /// The `health_checks` block.
    #[error("health_checks")]
    Health(#[from] HealthError),
    /// A socket path that can't be made absolute.
    #[error("socket_path {path:?}")]
    SocketPath { path: PathBuf, source: std::io::Error },
}

impl From<plastron_hcl1::ConfigError> for SettingsError {
    fn from(error: plastron_hcl1::ConfigError) -> Self {
        Self::Load(error.into())
    }
}

/// A value with where it comes from, so that what is wrong with it can be told.
struct Setting<T> {
    value: T,
    origin: Origin,
}

enum Origin {
    Flag(&'static str),
    File(Place),
}

impl<T> Setting<T> {
    fn pick(name: &'static str, flag: Option<&T>, file: Option<Located<T>>) -> Option<Self>
    where
        T: Clone,
    {
        let from_file = |located: Located<T>| Self { value: located.value, origin: Origin::File(located.place) };
        let from_flag = |value: &T| Self { value: value.clone(), origin: Origin::Flag(name) };
        flag.map(from_flag).or_else(|| file.map(from_file))
    }

    fn parse<U, E: std::fmt::Display>(&self, parse: impl FnOnce(&T) -> Result<U, E>) -> Result<U, SettingsError> {
        parse(&self.value).map_err(|problem| match &self.origin {
            Origin::Flag(flag) => SettingsError::Flag { flag, problem: problem.to_string() },
            Origin::File(place) => place.refuse(problem).into(),
        })
    }
}

/// Reads the file that the flags name.
pub(crate) fn load(flags: &Flags) -> Result<Settings, SettingsError> {
    let strictness =
        if flags.strict { Strictness::Strict } else { Strictness::Usual { tolerant: TOLERANT, strict: STRICT } };
    let source = Source { path: Path::new(&flags.config), expand_env: flags.expand_env, strictness };
    let loaded = plastron_daemon::config::load::<RawFile>(&source)?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let RawFile { server, plugins, telemetry, health_checks } = loaded.config;
    let server = server.ok_or(SettingsError::Missing { what: "the server section" })?.without_empty();
    missing::refuse(&server, &telemetry)?;
    let telemetry = TelemetrySettings::try_from(&telemetry)?;
    let plugins = plugins.ok_or(SettingsError::Missing { what: "the plugins section" })?;
    let (catalog, notices) = Catalog::read(&plugins, &strictness)?;
    warnings.extend(notices.iter().map(ToString::to_string));
    let health_checks = health_checks.unwrap_or_default();
    health_checks.validate()?;
    settle(flags, server, catalog, Observed { health_checks, telemetry }, warnings)
}

/// What the program shows of itself.
struct Observed {
    health_checks: RawHealthChecks,
    telemetry: TelemetrySettings,
}

fn settle(
    flags: &Flags,
    server: RawServer,
    catalog: Catalog,
    Observed { health_checks, telemetry }: Observed,
    mut warnings: Vec<String>,
) -> Result<Settings, SettingsError> {
    warnings.extend(missing::without_effect(&server));
    let node_pruning = pruning::node_pruning(&server)?;
    let trust_domain = Setting::pick("trustDomain", flags.trust_domain.as_ref(), server.trust_domain)
        .ok_or(SettingsError::Missing { what: "trust_domain" })?
        .parse(|text| TrustDomain::parse(text))?;
    let federation = federation::read(server.federation, &trust_domain, &mut warnings)?;
    let data_dir = flags.data_dir.clone().or(server.data_dir).ok_or(SettingsError::Missing { what: "data_dir" })?;
    let socket_path = flags.socket_path.clone().or(server.socket_path).unwrap_or_else(|| DEFAULT_SOCKET_PATH.into());
    let socket_path =
        std::path::absolute(&socket_path).map_err(|source| SettingsError::SocketPath { path: socket_path, source })?;
    let ca_ttl = ttl(server.ca_ttl, DEFAULT_CA_TTL)?;
    let default_x509_svid_ttl = ttl(server.default_x509_svid_ttl, DEFAULT_X509_SVID_TTL)?;
    let agent_ttl = ttl(server.agent_ttl, default_x509_svid_ttl)?;
    let default_jwt_svid_ttl = ttl(server.default_jwt_svid_ttl, DEFAULT_JWT_SVID_TTL)?;
    for (name, lifetime) in [
        ("agent_ttl", agent_ttl),
        ("default_x509_svid_ttl", default_x509_svid_ttl),
        ("default_jwt_svid_ttl", default_jwt_svid_ttl),
    ] {
        if lifetime > guaranteed_svid_ttl(ca_ttl) {
            warnings.push(format!(
                "{name} is more than a sixth of ca_ttl, or than 7 days: SVIDs can be cut short by the end of the CA's life; \
                 raise ca_ttl or lower {name}"
            ));
        }
    }
    let trusted_proxies = match server.proxy_protocol_trusted_cidrs {
        None => TrustedProxies::default(),
        Some(Located { value, place }) => Setting { value, origin: Origin::File(place) }
            .parse(|networks| TrustedProxies::parse(networks.iter().map(String::as_str)))?,
    };
    let read_key_type = |located: Located<String>| {
        Setting { value: located.value, origin: Origin::File(located.place) }.parse(|text| key_type(text))
    };
    let key_type = server.ca_key_type.map_or(Ok(KeyType::EcP256), read_key_type)?;
    let ca = CaConfig {
        trust_domain,
        key_type,
        jwt_key_type: server.jwt_key_type.map_or(Ok(key_type), read_key_type)?,
        ttl: ca_ttl,
        subject: subject(server.ca_subject),
        jwt_issuer: server.jwt_issuer,
        disable_jwt_svids: server.disable_jwt_svids.unwrap_or_default(),
    };
    let admin_ids = server
        .admin_ids
        .into_iter()
        .map(|id| Setting { value: id.value, origin: Origin::File(id.place) }.parse(|text| SpiffeId::parse(text)));
    Ok(Settings {
        data_dir,
        bind_address: flags.bind_address.clone().or(server.bind_address).unwrap_or_else(|| DEFAULT_BIND_ADDRESS.into()),
        bind_port: flags.server_port.or(server.bind_port).unwrap_or(DEFAULT_BIND_PORT),
        trusted_proxies,
        socket_path,
        services: ServicesConfig {
            ca,
            admin_ids: admin_ids.collect::<Result<_, _>>()?,
            agent_ttl,
            default_x509_svid_ttl,
            default_jwt_svid_ttl,
        },
        rate_limits: server.ratelimit.map_or_else(RateLimits::default, |limits| RateLimits {
            attestation: limits.attestation.unwrap_or(true),
            signing: limits.signing.unwrap_or(true),
        }),
        node_pruning,
        log: LogOptions {
            level: Setting::pick("logLevel", flags.log_level.as_ref(), server.log_level).map_or_else(
                || Ok(Default::default()),
                |setting| setting.parse(|text| text.parse::<plastron_daemon::logging::Level>()),
            )?,
            format: Setting::pick("logFormat", flags.log_format.as_ref(), server.log_format).map_or_else(
                || Ok(Default::default()),
                |setting| setting.parse(|text| text.parse::<plastron_daemon::logging::Format>()),
            )?,
            file: flags.log_file.clone().or(server.log_file),
            source_location: flags.log_source_location || server.log_source_location.unwrap_or_default(),
        },
        health_checks,
        telemetry,
        catalog,
        federation,
        warnings,
    })
}

fn ttl(setting: Option<Located<String>>, default: Duration) -> Result<Duration, SettingsError> {
    match setting {
        None => Ok(default),
        Some(located) => Setting { value: located.value, origin: Origin::File(located.place) }
            .parse(|text| plastron_server_cli::go_duration(text)),
    }
}

fn key_type(text: &str) -> Result<KeyType, String> {
    [KeyType::Rsa2048, KeyType::Rsa4096, KeyType::EcP256, KeyType::EcP384]
        .into_iter()
        .find(|key_type| key_type.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("key type {text:?} is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"))
}

fn subject(raw: Option<raw::RawCaSubject>) -> CaSubject {
    let Some(raw::RawCaSubject { country, organization, common_name }) = raw else { return CaSubject::default() };
    let subject = CaSubject { country, organization, common_name };
    let empty = subject.country.is_empty() && subject.organization.is_empty() && subject.common_name.is_empty();
    if empty { CaSubject::default() } else { subject }
}

#[cfg(test)]
mod tests;
