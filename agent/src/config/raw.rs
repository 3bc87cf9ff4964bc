//! The file as it is written: every key of SPIRE's. Field names are the keys; a key that is no field is unknown. What this agent does not
//! do is refused by `missing`, which reads these types.

use std::path::PathBuf;

use plastron_agent_workload_api::Limited;
use plastron_daemon::config::{RawTelemetry, unset_empty};
use plastron_daemon::health::RawHealthChecks;
use plastron_hcl1::{ConfigError, Located, Subtree};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct RawConfig {
    pub(super) agent: Option<RawAgent>,
    pub(super) plugins: Option<Subtree>,
    #[serde(default)]
    pub(super) telemetry: RawTelemetry,
    #[serde(default)]
    pub(super) health_checks: RawHealthChecks,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAgent {
    pub(super) admin_socket_path: Option<Located<PathBuf>>,
    pub(super) allow_unauthenticated_verifiers: bool,
    pub(super) allowed_foreign_jwt_claims: Vec<String>,
    pub(super) authorized_delegates: Option<Located<Vec<Located<String>>>>,
    /// 24h or more.
    pub(super) availability_target: Option<Located<String>>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) disable_sds_api: Option<Located<bool>>,
    pub(super) disable_workload_api: Option<Located<bool>>,
    pub(super) experimental: RawExperimental,
    pub(super) insecure_bootstrap: Option<Located<bool>>,
    pub(super) join_token: Option<Located<String>>,
    pub(super) join_token_file: Option<Located<PathBuf>>,
    pub(super) jwt_svid_cache_max_size: Option<Located<usize>>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_format: Option<Located<String>>,
    pub(super) log_level: Option<Located<String>>,
    pub(super) log_selectors: Option<Located<Vec<String>>>,
    pub(super) log_source_location: bool,
    pub(super) profiling_enabled: Option<Located<bool>>,
    pub(super) profiling_freq: Option<Located<i64>>,
    pub(super) profiling_names: Option<Located<Vec<String>>>,
    pub(super) profiling_port: Option<Located<i64>>,
    pub(super) rebootstrap_delay: Option<Located<String>>,
    /// never, auto or always; never by default.
    pub(super) rebootstrap_mode: Option<Located<String>>,
    pub(super) sds: Option<Located<RawSds>>,
    pub(super) server_address: Option<Located<String>>,
    pub(super) server_port: Option<Located<u16>>,
    pub(super) socket_path: Option<PathBuf>,
    pub(super) trust_bundle_format: Option<Located<String>>,
    pub(super) trust_bundle_path: Option<Located<PathBuf>>,
    pub(super) trust_bundle_spiffe_workload_api: Option<Located<String>>,
    pub(super) trust_bundle_unix_socket: Option<Located<PathBuf>>,
    pub(super) trust_bundle_url: Option<Located<String>>,
    pub(super) trust_domain: Option<Located<String>>,
    pub(super) workload_x509_svid_key_type: Option<Located<String>>,
    pub(super) x509_svid_cache_max_size: Option<Located<usize>>,
}

impl RawAgent {
    /// Without what SPIRE takes for absent.
    pub(super) fn without_empty(mut self) -> Self {
        for text in [
            &mut self.availability_target,
            &mut self.join_token,
            &mut self.log_format,
            &mut self.log_level,
            &mut self.rebootstrap_delay,
            &mut self.rebootstrap_mode,
            &mut self.server_address,
            &mut self.trust_bundle_format,
            &mut self.trust_bundle_spiffe_workload_api,
            &mut self.trust_bundle_url,
            &mut self.trust_domain,
            &mut self.workload_x509_svid_key_type,
            &mut self.experimental.admin_named_pipe_name,
            &mut self.experimental.jwt_svid_cache_hit_timeout,
            &mut self.experimental.named_pipe_name,
            &mut self.experimental.sync_interval,
        ] {
            unset_empty(text);
        }
        for path in [
            &mut self.admin_socket_path,
            &mut self.join_token_file,
            &mut self.trust_bundle_path,
            &mut self.trust_bundle_unix_socket,
        ] {
            unset_empty(path);
        }
        for path in [&mut self.data_dir, &mut self.log_file, &mut self.socket_path] {
            unset_empty(path);
        }
        unset_empty(&mut self.server_port);
        unset_empty(&mut self.jwt_svid_cache_max_size);
        unset_empty(&mut self.x509_svid_cache_max_size);
        self
    }
}

/// The names under which Envoy finds what it asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSds {
    /// ALL by default.
    pub(super) default_all_bundles_name: Option<Located<String>>,
    /// ROOTCA by default.
    pub(super) default_bundle_name: Option<Located<String>>,
    /// default by default.
    pub(super) default_svid_name: Option<Located<String>>,
    pub(super) disable_spiffe_cert_validation: Option<Located<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawExperimental {
    pub(super) admin_named_pipe_name: Option<Located<String>>,
    pub(super) broker: Option<Located<RawBroker>>,
    pub(super) feature_flags: Option<Located<Vec<Located<String>>>>,
    pub(super) jwt_svid_cache_hit_timeout: Option<Located<String>>,
    pub(super) named_pipe_name: Option<Located<String>>,
    pub(super) ratelimit: RawRateLimit,
    pub(super) require_pq_kem: Option<Located<bool>>,
    pub(super) sync_interval: Option<Located<String>>,
    pub(super) use_sync_authorized_entries: Option<Located<bool>>,
}

/// Calls a second for each set of selectors; 0 and absent: no limit.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRateLimit {
    pub(super) fetch_jwt_bundles: Option<Located<i64>>,
    pub(super) fetch_jwt_svid: Option<Located<i64>>,
    pub(super) fetch_secrets: Option<Located<i64>>,
    pub(super) fetch_x509_bundles: Option<Located<i64>>,
    pub(super) fetch_x509_svid: Option<Located<i64>>,
    pub(super) stream_secrets: Option<Located<i64>>,
}

impl RawRateLimit {
    /// The limits that limit.
    pub(super) fn limits(self) -> Result<Vec<(Limited, u32)>, ConfigError> {
        let Self {
            fetch_jwt_bundles,
            fetch_jwt_svid,
            fetch_secrets,
            fetch_x509_bundles,
            fetch_x509_svid,
            stream_secrets,
        } = self;
        let all = [
            (Limited::FetchJwtBundles, fetch_jwt_bundles),
            (Limited::FetchJwtSvid, fetch_jwt_svid),
            (Limited::FetchSecrets, fetch_secrets),
            (Limited::FetchX509Bundles, fetch_x509_bundles),
            (Limited::FetchX509Svid, fetch_x509_svid),
            (Limited::StreamSecrets, stream_secrets),
        ];
        let given = all.into_iter().filter_map(|(method, limit)| Some((method, limit?)));
        let read =
            given.map(|(method, limit)| match u32::try_from(limit.value) {
                Ok(value) => Ok((method, value)),
                Err(_) => Err(limit
                    .refuse(format_args!("must be a number of calls a second from 0, for no limit, to {}", u32::MAX))),
            });
        read.filter(|limit| !matches!(limit, Ok((_, 0)))).collect()
    }
}

/// `broker { … }`; refused as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBroker {
    #[serde(rename = "socket_path")]
    _socket_path: String,
    #[serde(rename = "bind_address")]
    _bind_address: String,
    #[serde(rename = "brokers")]
    _brokers: Vec<RawBrokerEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBrokerEntry {
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "allowed_reference_types")]
    _allowed_reference_types: Vec<RawReferenceType>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawReferenceType {
    #[serde(rename = "type_url")]
    _type_url: String,
    #[serde(rename = "allow_over_tcp")]
    _allow_over_tcp: bool,
}
