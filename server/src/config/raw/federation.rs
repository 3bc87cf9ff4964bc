//! `server.federation { … }` as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plastron_hcl1::Located;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawFederation {
    pub(in crate::config) bundle_endpoint: Option<Located<RawBundleEndpoint>>,
    /// By trust domain, as its name or as its SPIFFE ID.
    pub(in crate::config) federates_with: BTreeMap<String, Located<RawFederatesWith>>,
}

/// Where this server shows its own bundle.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawBundleEndpoint {
    /// An IP address; all interfaces by default.
    pub(in crate::config) address: Option<Located<String>>,
    pub(in crate::config) port: Option<Located<u16>>,
    /// 5m by default.
    pub(in crate::config) refresh_hint: Option<Located<String>>,
    /// SPIRE's deprecated form of `profile "https_web" { acme { … } }`.
    pub(in crate::config) acme: Option<Located<RawAcme>>,
    /// SPIRE takes `https_spiffe` where there is none, and warns.
    pub(in crate::config) profile: Option<Located<RawServingProfile>>,
}

/// `profile "https_spiffe" { }` or `profile "https_web" { … }`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawServingProfile {
    pub(in crate::config) https_spiffe: Option<Located<RawNothing>>,
    pub(in crate::config) https_web: Option<Located<RawServingWeb>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawServingWeb {
    pub(in crate::config) acme: Option<Located<RawAcme>>,
    pub(in crate::config) serving_cert_file: Option<Located<RawServingCertFile>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawServingCertFile {
    pub(in crate::config) cert_file_path: Option<Located<PathBuf>>,
    pub(in crate::config) key_file_path: Option<Located<PathBuf>>,
    /// 1h by default.
    pub(in crate::config) file_sync_interval: Option<Located<String>>,
}

/// `acme { … }`; refused as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawAcme {
    #[serde(rename = "directory_url")]
    _directory_url: String,
    #[serde(rename = "domain_name")]
    _domain_name: String,
    #[serde(rename = "email")]
    _email: String,
    #[serde(rename = "tos_accepted")]
    _tos_accepted: bool,
}

/// A trust domain whose bundle this server fetches.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawFederatesWith {
    pub(in crate::config) bundle_endpoint_url: Option<Located<String>>,
    pub(in crate::config) bundle_endpoint_profile: Option<Located<RawFetchingProfile>>,
}

/// `bundle_endpoint_profile "https_spiffe" { … }` or `bundle_endpoint_profile "https_web" { }`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawFetchingProfile {
    pub(in crate::config) https_spiffe: Option<Located<RawFetchingSpiffe>>,
    pub(in crate::config) https_web: Option<Located<RawNothing>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawFetchingSpiffe {
    pub(in crate::config) endpoint_spiffe_id: Option<Located<String>>,
}

/// A block without keys.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct RawNothing {}
