//! Keeps the agent's own SVID fresh, and reacts when the server denies the agent (SPIRE: `pkg/agent/svid/rotator.go`, `pkg/common/nodeutil`).
//!
//! At half-life, or when denied: a new attestation where the attestor can attest again, else RenewAgent. Failures keep the present
//! SVID and try again with back-off; only a ban, or the end of what can't be renewed, ends the agent.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Clock;
use crate::agent::{AgentError, Parts};
use crate::attest::{self, AttestError};
use crate::distrust::Departure;
use crate::enrol::{FIRST_RETRY, LONGEST_RETRY, millis};
use crate::meters;
use crate::report::Chain;
use crate::schedule::{Backoff, renewal_point, sleep_until};
use crate::standing::{Denial, Standing};
use crate::taint::{leads_to, replacement_point};
use crate::upstream::{AgentDenial, Caller};

/// Shortest pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What a denial calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// Attest again with the hardware that does not forget.
    Attest,
    /// Remove the SVID and end: only a person can help.
    Stop,
}

fn reaction(reason: AgentDenial, reattestable: bool) -> Reaction {
    match reason {
        AgentDenial::Banned => Reaction::Stop,
        AgentDenial::Expired | AgentDenial::NotAttested | AgentDenial::NotActive | AgentDenial::MustReattest => {
            if reattestable {
                Reaction::Attest
            } else {
                Reaction::Stop
            }
        }
    }
}

/// Runs until the agent has to end.
pub(crate) async fn keep_identity(
    parts: &Parts,
    standing: &Standing,
    mut denials: mpsc::Receiver<Denial>,
) -> AgentError {
    let first = standing.caller().svid;
    let mut due = renewal_point(first.svid.not_before(), first.svid.not_after(), parts.settings.availability_target);
    let mut from = first.svid.not_before();
    let mut pause = None;
    drop(first);
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut denied = false;
    let mut rebootstrap_backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut departure = match parts.distrust.permits(&standing.caller().svid) {
        Ok(departure) => departure,
        Err(error) => return error,
    };
    loop {
        let mut rebootstrapped = None;
        let denial = tokio::select! {
            () = rest(parts.clock.as_ref(), pause, from, due) => None,
            Some(denial) = denials.recv() => Some(denial),
            () = parts.distrust.due(), if departure == Departure::Permitted => {
                match attest::rebootstrap(parts, Some(&standing.caller().svid)).await {
                    Ok(fresh) => rebootstrapped = Some(fresh),
                    Err(error) => {
                        let delay = rebootstrap_backoff.next();
                        tracing::error!(error = %Chain(&error), retry_in_ms = millis(delay), "Failed to rebootstrap");
                        parts.distrust.put_off(delay);
                        continue;
                    }
                }
                None
            }
            () = standing.svid_tainted() => {
                due = due.min(replacement_point(parts.clock.now().as_secs(), standing.caller().svid.svid.not_after()));
                continue;
            }
        };
        let caller = standing.caller();
        if let Some(Denial { reason, svid }) = denial {
            if !std::sync::Arc::ptr_eq(&svid, &caller.svid) {
                continue;
            }
            tracing::warn!(spiffe_id = %svid.id(), %reason, "The server denies this agent");
            if reaction(reason, svid.reattestable) == Reaction::Stop {
                return stop(parts, &caller, reason);
            }
            if denied {
                continue;
            }
            denied = true;
        }
        if parts.clock.now().as_secs() < from {
            tracing::warn!(
                spiffe_id = %caller.svid.id(), valid_from = from,
                "The clock was set back to before this agent's SVID is valid: it gets another"
            );
        }
        let call = if caller.svid.reattestable { &meters::REATTEST } else { &meters::AGENT_SVID_ROTATE }.start();
        let outcome = match rebootstrapped {
            Some(fresh) => Ok(fresh),
            None => fresh_svid(parts, &caller).await,
        };
        match call.ended(outcome) {
            Ok(fresh) => {
                rebootstrap_backoff.reset();
                departure = match parts.distrust.permits(&fresh.svid) {
                    Ok(departure) => departure,
                    Err(error) => return error,
                };
                let (spiffe_id, expires_at) = (fresh.svid.id(), fresh.svid.svid.not_after());
                if caller.svid.reattestable {
                    tracing::info!(%spiffe_id, expires_at, "Successfully reattested node");
                } else {
                    tracing::info!(%spiffe_id, expires_at, "Successfully rotated agent SVID");
                }
                due = renewal_point(
                    parts.clock.now().as_secs(),
                    fresh.svid.svid.not_after(),
                    parts.settings.availability_target,
                );
                from = fresh.svid.svid.not_before();
                backoff.reset();
                pause = None;
                denied = false;
                standing.renewed(with_latest_bundle(parts, standing, fresh));
            }
            Err(error) => {
                if let Some(reason) = error.denial()
                    && reaction(reason, caller.svid.reattestable) == Reaction::Stop
                {
                    return stop(parts, &caller, reason);
                }
                let now = parts.clock.now().as_secs();
                let expired = caller.svid.svid.not_after() <= now;
                if expired && !caller.svid.reattestable {
                    return forget(parts, &caller, AgentError::Expired { agent_id: caller.svid.id().clone() });
                }
                if error.is_refusal() && (denied || expired) {
                    standing.cut_off();
                }
                let delay = backoff.next();
                tracing::error!(
                    spiffe_id = %caller.svid.id(), error = %Chain(&error), retry_in_ms = millis(delay), "Failed to rotate agent SVID"
                );
                pause = Some(Instant::now() + delay.max(SHORTEST_PAUSE));
            }
        }
    }
}

/// The new SVID with the bundle that was pushed while it was made, where that is the later one and leads to the SVID too.
fn with_latest_bundle(parts: &Parts, standing: &Standing, fresh: Caller) -> Caller {
    let held = standing.caller().bundle;
    if *held == *fresh.bundle {
        return Caller { bundle: held, ..fresh };
    }
    if held.sequence_number <= fresh.bundle.sequence_number || !leads_to(&fresh.svid.svid, &held, parts.clock.now()) {
        return fresh;
    }
    if let Err(error) = parts.data.save(Some(&fresh.svid), &held) {
        tracing::error!(error = %Chain(&error), "Can't keep the bundle beside the new SVID");
    }
    Caller { bundle: held, ..fresh }
}

/// Until the SVID is due, or for a pause after a failure. A pause is not of the wall clock, which may be what just went wrong.
async fn rest(clock: &dyn Clock, pause: Option<Instant>, from: u64, due: u64) {
    match pause {
        Some(pause) => tokio::time::sleep_until(pause).await,
        None => sleep_until(clock, from, due).await,
    }
}

async fn fresh_svid(parts: &Parts, caller: &Caller) -> Result<Caller, AttestError> {
    if caller.svid.reattestable {
        tracing::info!(spiffe_id = %caller.svid.id(), "Reattesting node");
        attest::attest_again(parts, caller).await
    } else {
        tracing::info!(spiffe_id = %caller.svid.id(), "Rotating agent SVID");
        attest::renew(parts, caller).await
    }
}

fn stop(parts: &Parts, caller: &Caller, reason: AgentDenial) -> AgentError {
    let agent_id = caller.svid.id().clone();
    if reason == AgentDenial::Banned {
        // What an agent of SPIRE's says of the call that told it: alerts look for these words.
        let error = format!("failed to fetch authorized entries: {reason}");
        tracing::warn!(spiffe_id = %agent_id, error, "Agent is banned: removing SVID and shutting down");
        return forget(parts, caller, AgentError::Banned { agent_id });
    }
    tracing::warn!(spiffe_id = %agent_id, %reason, "Agent needs to attest again but can't: removing SVID and shutting down");
    forget(parts, caller, AgentError::Denied { agent_id, reason })
}

/// Removes the stored SVID and keeps the bundle, so that the next start attests to the right server.
fn forget(parts: &Parts, caller: &Caller, why: AgentError) -> AgentError {
    match parts.data.save(None, &caller.bundle) {
        Ok(()) => why,
        Err(error) => {
            tracing::error!(error = %Chain(&why), "The agent ends");
            AgentError::Persist(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ban_stops_an_agent_that_can_attest_again() {
        use AgentDenial::*;
        for reason in [Expired, NotAttested, NotActive, MustReattest] {
            assert_eq!(reaction(reason, true), Reaction::Attest, "{reason}");
            assert_eq!(reaction(reason, false), Reaction::Stop, "{reason}");
        }
        assert_eq!(reaction(Banned, true), Reaction::Stop);
        assert_eq!(reaction(Banned, false), Reaction::Stop);
    }
}
