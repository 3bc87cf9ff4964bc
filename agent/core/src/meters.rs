//! What the agent counts, by SPIRE's keys where it means the same (SPIRE's `doc/telemetry/telemetry.md`).

use std::sync::LazyLock;

use plastron_telemetry::{Call, Counter, Gauge, Sample};

pub(crate) static FETCH_ENTRIES: Call = Call::new("manager.sync.fetch_entries_updates");
pub(crate) static FETCH_SVIDS: Call = Call::new("manager.sync.fetch_svids_updates");
pub(crate) static PROCESS_TAINTED: Call = Call::new("cache_manager.workload.process_tainted_x509_svids");
pub(crate) static TAINTED: Sample = Sample::new("cache_manager.tainted_x509_svids.workload");
pub(crate) static AGENT_SVID_ROTATE: Call = Call::new("agent_svid.rotate");
pub(crate) static ENTRY_ADD: Counter = Counter::new("lru_cache_entry_add");
pub(crate) static ENTRY_REMOVE: Counter = Counter::new("lru_cache_entry_remove");
pub(crate) static ENTRY_UPDATE: Counter = Counter::new("lru_cache_entry_update");
pub(crate) static JWT_SVIDS: Gauge = Gauge::new("jwt_svid_cache_size");
pub(crate) static WORKLOAD_ATTESTATION: Call = Call::new("workload_api.workload_attestation");
pub(crate) static DISCOVERED_SELECTORS: Sample = Sample::new("workload_api.discovered_selectors");

static ENTRIES: LazyLock<Gauge> = LazyLock::new(|| Gauge::new("lru_cache_record_map_size").label("svid_type", "X509"));
static X509_SVIDS: LazyLock<Gauge> = LazyLock::new(|| Gauge::new("lru_cache_svid_map_size").label("svid_type", "X509"));

/// Of the calls of one workload attestor.
pub(crate) fn workload_attestor(name: &str) -> Call {
    Call::new("workload_api.workload_attestor").label("attestor", name)
}

/// Of one attestation by this node attestor.
pub(crate) fn new_svid(attestor: &str) -> Call {
    Call::new("node.attestor.new_svid").label("attestor", attestor)
}

/// How many entries the agent may serve, and how many of them have an X.509-SVID.
pub(crate) fn holds(entries: usize, svids: usize) {
    ENTRIES.set(gauge(entries));
    X509_SVIDS.set(gauge(svids));
}

/// As metrics have it.
pub(crate) fn gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
