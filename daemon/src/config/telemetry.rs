//! SPIRE's `telemetry` block as it is written; the server's and the agent's are the same.

use plastron_hcl1::Located;
use serde::Deserialize;

/// `telemetry { … }`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawTelemetry {
    /// Metrics for Prometheus to fetch.
    #[serde(rename = "Prometheus")]
    pub prometheus: Option<Located<RawPrometheus>>,
    /// Metrics sent to DataDog's agent.
    #[serde(rename = "DogStatsd")]
    pub dog_statsd: Option<Located<Vec<RawStatsd>>>,
    /// Metrics sent to statsd.
    #[serde(rename = "Statsd")]
    pub statsd: Option<Located<Vec<RawStatsd>>>,
    /// Metrics sent to M3.
    #[serde(rename = "M3")]
    pub m3: Option<Located<Vec<RawM3>>>,
    /// Metrics kept in memory and shown on SIGUSR1.
    #[serde(rename = "InMem")]
    pub in_mem: Option<Located<RawInMem>>,
    /// What every metric's name begins with; `spire_server` or `spire_agent` by default.
    #[serde(rename = "MetricPrefix")]
    pub metric_prefix: Option<Located<String>>,
    /// Whether every metric has the label `trust_domain`; false by default.
    #[serde(rename = "EnableTrustDomainLabel")]
    pub enable_trust_domain_label: Option<Located<bool>>,
    /// Whether every metric has the label `host`; true by default.
    #[serde(rename = "EnableHostnameLabel")]
    pub enable_hostname_label: Option<Located<bool>>,
    /// Metrics whose names begin so are kept.
    #[serde(rename = "AllowedPrefixes")]
    pub allowed_prefixes: Option<Located<Vec<String>>>,
    /// Metrics whose names begin so are dropped.
    #[serde(rename = "BlockedPrefixes")]
    pub blocked_prefixes: Option<Located<Vec<String>>>,
    /// Labels that are kept.
    #[serde(rename = "AllowedLabels")]
    pub allowed_labels: Option<Located<Vec<String>>>,
    /// Labels that are dropped.
    #[serde(rename = "BlockedLabels")]
    pub blocked_labels: Option<Located<Vec<String>>>,
}

/// `Prometheus { … }`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPrometheus {
    /// The address to listen on; `localhost` by default.
    pub host: Option<Located<String>>,
    /// The port to listen on.
    pub port: Option<Located<u16>>,
    /// Serves over TLS.
    pub tls: Option<Located<RawPrometheusTls>>,
}

/// `tls { … }` of `Prometheus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPrometheusTls {
    /// The certificate, PEM.
    pub cert_file: Option<Located<String>>,
    /// Its key, PEM.
    pub key_file: Option<Located<String>>,
    /// Who may certify clients, PEM; clients need no certificate without it.
    pub client_ca_file: Option<Located<String>>,
    /// Whether the program's own SVID is shown instead of a certificate.
    pub use_spire_svid: Option<Located<bool>>,
    /// With `use_spire_svid`: which clients may fetch.
    pub authorized_spiffe_ids: Option<Located<Vec<String>>>,
}

/// An element of `DogStatsd` or `Statsd`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawStatsd {
    /// Where to send to.
    pub address: Option<String>,
}

/// An element of `M3`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawM3 {
    /// Where to send to.
    pub address: Option<String>,
    /// The environment's name.
    pub env: Option<String>,
}

/// `InMem { }`: it has no keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawInMem {}
