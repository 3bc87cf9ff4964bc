//! The one list of what SPIRE's configuration can ask for and this agent does not do: refused by name, never ignored.
//!
//! Whoever makes a feature takes its line out of [`asked_for`].

use plastron_daemon::config::{Absence, RawTelemetry};
use plastron_hcl1::{ConfigError, Located, Place};

use super::raw::RawAgent;

/// Refuses the first thing, in the order of the file, that this agent does not do.
pub(super) fn refuse(agent: &RawAgent, telemetry: &RawTelemetry) -> Result<(), ConfigError> {
    plastron_daemon::config::refuse_first("this agent", asked_for(agent, telemetry))
}

/// What the file asks for that is not here.
#[rustfmt::skip]
fn asked_for(agent: &RawAgent, telemetry: &RawTelemetry) -> Vec<Absence> {
    let experimental = &agent.experimental;
    [
        Absence::of("profiling", on(agent.profiling_enabled.as_ref())),
        Absence::of("named pipes", experimental.named_pipe_name.as_ref()),
        Absence::of("named pipes", experimental.admin_named_pipe_name.as_ref()),
        Absence::of("Broker API", experimental.broker.as_ref()),
        Absence::of("feature flags", filled(experimental.feature_flags.as_ref())),
        Absence::of("setting for post-quantum key exchange alone", on(experimental.require_pq_kem.as_ref())),
        Absence::of("metrics for M3", filled(telemetry.m3.as_ref())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Keys that do no harm: they tune what this agent does otherwise or not at all.
pub(super) fn without_effect(agent: &RawAgent) -> Vec<String> {
    fn place<T>(value: &Option<Located<T>>) -> Option<&Place> {
        value.as_ref().map(|located| &located.place)
    }
    [
        place(&agent.profiling_port),
        place(&agent.profiling_freq),
        place(&agent.profiling_names),
        place(&agent.experimental.use_sync_authorized_entries),
    ]
    .into_iter()
    .flatten()
    .map(|place| format!("{place}: has no effect: this agent works otherwise"))
    .collect()
}

/// A switch that is on.
fn on(switch: Option<&Located<bool>>) -> Option<&Located<bool>> {
    switch.filter(|switch| switch.value)
}

/// A list that is not empty.
fn filled<T>(list: Option<&Located<Vec<T>>>) -> Option<&Located<Vec<T>>> {
    list.filter(|list| !list.value.is_empty())
}
