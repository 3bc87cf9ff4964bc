//! What the agent counts, by SPIRE's keys where it means the same (SPIRE's `doc/telemetry/telemetry.md`).

use std::sync::LazyLock;

use plastron_telemetry::{Call, Counter, Gauge, Sample};

pub(crate) static FETCH_ENTRIES: Call = Call::new("manager.sync.fetch_entries_updates");
pub(crate) static FETCH_SVIDS: Call = Call::new("manager.sync.fetch_svids_updates");
pub(crate) static PROCESS_TAINTED: Call = Call::new("cache_manager.workload.process_tainted_x509_svids");
pub(crate) static TAINTED: Sample = Sample::new("cache_manager.tainted_x509_svids.workload");
pub(crate) static EXPIRING: Sample = Sample::new("cache_manager.expiring_svids");
pub(crate) static OUTDATED: Sample = Sample::new("cache_manager.outdated_svids");
pub(crate) static AGENT_SVID_ROTATE: Call = Call::new("agent_svid.rotate");
pub(crate) static REATTEST: Call = Call::new("node.attest");
pub(crate) static GENERATE_KEY: Call = Call::new("agent_key_manager.generate_key");
pub(crate) static GET_KEYS: Call = Call::new("agent_key_manager.get_keys");
pub(crate) static ENTRY_ADD: Counter = Counter::new("lru_cache_entry_add");
pub(crate) static ENTRY_REMOVE: Counter = Counter::new("lru_cache_entry_remove");
pub(crate) static ENTRY_UPDATE: Counter = Counter::new("lru_cache_entry_update");
pub(crate) static JWT_SVIDS: Gauge = Gauge::new("jwt_svid_cache_size");
pub(crate) static WORKLOAD_ATTESTATION: Call = Call::new("workload_api.workload_attestation");
pub(crate) static DISCOVERED_SELECTORS: Sample = Sample::new("workload_api.discovered_selectors");

static BOOTSTRAPPED: Gauge = Gauge::new("bootstrapped");
static BUNDLES_TOTAL: Gauge = Gauge::new("sync_bundles_total");
static ENTRIES_TOTAL: Gauge = Gauge::new("sync_entries_total");
static ENTRIES_MISSING: Gauge = Gauge::new("sync_entries_missing");
static ENTRIES_STALE: Gauge = Gauge::new("sync_entries_stale");
static ENTRIES_DROPPED: Gauge = Gauge::new("sync_entries_dropped");
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

/// What a synchronisation with the server brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    /// Entries that the agent may serve.
    pub(crate) total: usize,
    /// Those that it did not have.
    pub(crate) missing: usize,
    /// Those that it had otherwise.
    pub(crate) stale: usize,
    /// What it had and may not serve any more.
    pub(crate) dropped: usize,
}

/// Of one synchronisation's entries.
pub(crate) fn synced(Synced { total, missing, stale, dropped }: Synced) {
    ENTRIES_TOTAL.set(gauge(total));
    ENTRIES_MISSING.set(gauge(missing));
    ENTRIES_STALE.set(gauge(stale));
    ENTRIES_DROPPED.set(gauge(dropped));
}

/// How many SVIDs are asked for anew for their age, and because their entries changed. SPIRE is silent where there are none.
pub(crate) fn worn((expiring, outdated): (usize, usize)) {
    for (sample, count) in [(&EXPIRING, expiring), (&OUTDATED, outdated)] {
        if count > 0 {
            sample.record(gauge(count));
        }
    }
}

/// How many bundles workloads may be given.
pub(crate) fn bundles(count: usize) {
    BUNDLES_TOTAL.set(gauge(count));
}

/// A first attestation is under way: since when, in Unix seconds, and how often it was tried. SPIRE's `mode` for it is `bootstrap`.
pub(crate) fn bootstrapping(since: u64, attempts: usize) {
    bootstrap("bootstrap", false, since, attempts);
}

/// The agent has an SVID.
pub(crate) fn bootstrapped() {
    bootstrap("bootstrap", true, 0, 0);
}

/// The source of the bundle to begin with is asked again: since when, and how often by now.
pub(crate) fn rebootstrapping(since: u64, attempts: u64) {
    bootstrap("rebootstrap", false, since, usize::try_from(attempts).unwrap_or(usize::MAX));
}

/// The server that it named was attested.
pub(crate) fn rebootstrapped() {
    bootstrap("rebootstrap", true, 0, 0);
}

fn bootstrap(mode: &'static str, done: bool, since: u64, attempts: usize) {
    let of_mode = |name| Gauge::new(name).label("mode", mode);
    BOOTSTRAPPED.set(f64::from(u8::from(done)));
    of_mode("bootstrap_seconds").set(f64::from(u32::try_from(since).unwrap_or(u32::MAX)));
    of_mode("bootstrap_attempts").set(gauge(attempts));
}

/// As metrics have it.
pub(crate) fn gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
