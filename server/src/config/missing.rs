//! The one list of what SPIRE's configuration can ask for and this server does not do: refused by name, never ignored.
//!
//! Whoever makes a feature takes its line out of [`asked_for`].

use plastron_daemon::config::{Absence, RawTelemetry};
use plastron_hcl1::{ConfigError, Located, Place};

use super::raw::RawServer;

/// Refuses the first thing, in the order of the file, that this server does not do.
pub(super) fn refuse(server: &RawServer, telemetry: &RawTelemetry) -> Result<(), ConfigError> {
    plastron_daemon::config::refuse_first("this server", asked_for(server, telemetry))
}

/// What the file asks for that is not here.
#[rustfmt::skip]
fn asked_for(server: &RawServer, telemetry: &RawTelemetry) -> Vec<Absence> {
    let experimental = &server.experimental;
    [
        Absence::of("profiling", on(server.profiling_enabled.as_ref())),
        Absence::of("agents' SPIFFE IDs as selectors", on(experimental.agent_spiffe_id_as_selector.as_ref())),
        Absence::of("policy engine (OPA)", experimental.auth_opa_policy_engine.as_ref()),
        Absence::of("feature flags", filled(experimental.feature_flags.as_ref())),
        Absence::of("named pipes", experimental.named_pipe_name.as_ref()),
        Absence::of("setting for post-quantum key exchange alone", on(experimental.require_pq_kem.as_ref())),
        Absence::of("WIT-SVIDs", experimental.wit_issuer.as_ref()),
        Absence::of("WIT-SVIDs", experimental.wit_key_type.as_ref()),
        Absence::of("metrics for M3", filled(telemetry.m3.as_ref())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Keys that do no harm: they tune what this server does otherwise or not at all.
pub(super) fn without_effect(server: &RawServer) -> Vec<String> {
    fn place<T>(value: &Option<Located<T>>) -> Option<&Place> {
        value.as_ref().map(|located| &located.place)
    }
    let experimental = &server.experimental;
    let otherwise = [place(&server.profiling_port), place(&server.profiling_freq), place(&server.profiling_names)];
    let reload = [
        place(&experimental.cache_reload_interval),
        place(&experimental.full_cache_reload_interval),
        place(&experimental.events_based_cache),
        place(&experimental.prune_events_older_than),
        place(&experimental.event_timeout),
        place(&experimental.sql_transaction_timeout),
    ];
    let told = |place: &Place, why: &str| format!("{place}: has no effect: {why}");
    let otherwise = otherwise.into_iter().flatten().map(|place| told(place, "this server works otherwise"));
    let reload =
        reload.into_iter().flatten().map(|place| told(place, "entries follow the change log and need no reload"));
    otherwise.chain(reload).collect()
}

/// A switch that is on.
fn on(switch: Option<&Located<bool>>) -> Option<&Located<bool>> {
    switch.filter(|switch| switch.value)
}

/// A list that is not empty.
fn filled<T>(list: Option<&Located<Vec<T>>>) -> Option<&Located<Vec<T>>> {
    list.filter(|list| !list.value.is_empty())
}
