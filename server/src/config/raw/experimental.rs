//! `server.experimental { … }` as it is written.

use plastron_hcl1::Located;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawExperimental {
    pub(in crate::config) agent_spiffe_id_as_selector: Option<Located<bool>>,
    pub(in crate::config) auth_opa_policy_engine: Option<Located<RawOpaEngine>>,
    pub(in crate::config) cache_reload_interval: Option<Located<String>>,
    pub(in crate::config) event_timeout: Option<Located<String>>,
    pub(in crate::config) events_based_cache: Option<Located<bool>>,
    pub(in crate::config) feature_flags: Option<Located<Vec<Located<String>>>>,
    pub(in crate::config) full_cache_reload_interval: Option<Located<String>>,
    pub(in crate::config) named_pipe_name: Option<Located<String>>,
    pub(in crate::config) prune_events_older_than: Option<Located<String>>,
    pub(in crate::config) require_pq_kem: Option<Located<bool>>,
    pub(in crate::config) sql_transaction_timeout: Option<Located<String>>,
    pub(in crate::config) wit_issuer: Option<Located<String>>,
    pub(in crate::config) wit_key_type: Option<Located<String>>,
}

/// `auth_opa_policy_engine { … }`; refused as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawOpaEngine {
    #[serde(rename = "local")]
    _local: RawOpaProvider,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawOpaProvider {
    #[serde(rename = "rego_path")]
    _rego_path: String,
    #[serde(rename = "policy_data_path")]
    _policy_data_path: String,
}
