//! The file as it is written: every key of SPIRE's. Field names are the keys; a key that is no field is unknown. What this server does not
//! do is refused by `missing`, which reads these types.

pub(super) mod experimental;
pub(super) mod federation;

use std::path::PathBuf;

use plastron_daemon::config::{RawTelemetry, unset_empty};
use plastron_daemon::health::RawHealthChecks;
use plastron_hcl1::{Located, Subtree};
use serde::Deserialize;

use experimental::RawExperimental;
use federation::RawFederation;

#[derive(Deserialize)]
pub(super) struct RawFile {
    pub(super) server: Option<RawServer>,
    pub(super) plugins: Option<Subtree>,
    #[serde(default)]
    pub(super) telemetry: RawTelemetry,
    pub(super) health_checks: Option<RawHealthChecks>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawServer {
    pub(super) admin_ids: Vec<Located<String>>,
    pub(super) agent_ttl: Option<Located<String>>,
    /// Attestations and changes are audited whatever this says.
    pub(super) audit_log_enabled: Option<bool>,
    pub(super) bind_address: Option<String>,
    pub(super) bind_port: Option<u16>,
    pub(super) ca_key_type: Option<Located<String>>,
    pub(super) ca_subject: Option<RawCaSubject>,
    pub(super) ca_ttl: Option<Located<String>>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) default_jwt_svid_ttl: Option<Located<String>>,
    pub(super) default_x509_svid_ttl: Option<Located<String>>,
    pub(super) disable_jwt_svids: Option<bool>,
    pub(super) experimental: RawExperimental,
    pub(super) federation: Option<Located<RawFederation>>,
    pub(super) jwt_issuer: Option<String>,
    pub(super) jwt_key_type: Option<Located<String>>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_format: Option<Located<String>>,
    pub(super) log_level: Option<Located<String>>,
    pub(super) log_source_location: Option<bool>,
    pub(super) max_attested_node_info_staleness: Option<Located<String>>,
    pub(super) profiling_enabled: Option<Located<bool>>,
    pub(super) profiling_freq: Option<Located<i64>>,
    pub(super) profiling_names: Option<Located<Vec<String>>>,
    pub(super) profiling_port: Option<Located<i64>>,
    pub(super) proxy_protocol_trusted_cidrs: Option<Located<Vec<String>>>,
    pub(super) prune_attested_nodes_batch_size: Option<Located<i64>>,
    pub(super) prune_attested_nodes_expired_for: Option<Located<String>>,
    pub(super) prune_tofu_nodes: Option<Located<bool>>,
    pub(super) ratelimit: Option<RawRateLimit>,
    pub(super) socket_path: Option<PathBuf>,
    pub(super) trust_domain: Option<Located<String>>,
}

impl RawServer {
    /// Without what SPIRE takes for absent.
    pub(super) fn without_empty(mut self) -> Self {
        for text in [
            &mut self.agent_ttl,
            &mut self.ca_key_type,
            &mut self.ca_ttl,
            &mut self.default_jwt_svid_ttl,
            &mut self.default_x509_svid_ttl,
            &mut self.jwt_key_type,
            &mut self.log_format,
            &mut self.log_level,
            &mut self.prune_attested_nodes_expired_for,
            &mut self.trust_domain,
            &mut self.experimental.named_pipe_name,
            &mut self.experimental.wit_issuer,
            &mut self.experimental.wit_key_type,
        ] {
            unset_empty(text);
        }
        for path in [&mut self.data_dir, &mut self.log_file, &mut self.socket_path] {
            unset_empty(path);
        }
        unset_empty(&mut self.bind_address);
        unset_empty(&mut self.jwt_issuer);
        self
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCaSubject {
    pub(super) country: Vec<String>,
    pub(super) organization: Vec<String>,
    pub(super) common_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRateLimit {
    pub(super) attestation: Option<bool>,
    pub(super) signing: Option<bool>,
}
