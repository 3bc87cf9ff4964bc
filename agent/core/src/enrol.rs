//! From the start of the process to a usable SVID: the stored one, or a first attestation.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{AgentError, Parts};
use crate::attest;
use crate::distrust::Departure;
use crate::issued::check_agent_svid;
use crate::meters;
use crate::persist::Remembered;
use crate::report::Chain;
use crate::schedule::Backoff;
use crate::upstream::Caller;

/// SPIRE's first delay after a failed attestation.
pub(crate) const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Longest delay: a server that returns hears from every node within about a minute, and not from all at once.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The stored SVID if it still serves, else attests until it succeeds or the server refuses.
pub(crate) async fn enrol(parts: &Parts) -> Result<Caller, AgentError> {
    let held = match &parts.held_keys {
        None => None,
        Some(held_keys) => match held_keys.svid_key().await {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "The key of the SVID can't be had from its hardware yet");
                None
            }
        },
    };
    let call = meters::GET_KEYS.start();
    let remembered = call.ended(parts.data.load(&parts.settings.trust_domain, held.as_ref()));
    let Remembered { svid, bundle } = remembered?;
    let bundle = bundle.map(Arc::new);
    let departure = match &svid {
        Some(svid) => parts.distrust.permits(svid)?,
        None => Departure::Permitted,
    };
    if let (Some(svid), Some(bundle)) = (svid, &bundle) {
        let chain = svid.svid.chain().to_vec();
        let own = &parts.settings.trust_domain;
        match check_agent_svid(chain, own, None, svid.svid.public_key(), bundle, parts.clock.now()) {
            Ok(_) => {
                tracing::info!(spiffe_id = %svid.id(), expires_at = svid.svid.not_after(), "SVID loaded");
                meters::bootstrapped();
                return Ok(Caller { svid: Arc::new(svid), bundle: Arc::clone(bundle) });
            }
            Err(error) => {
                tracing::warn!(spiffe_id = %svid.id(), error = %Chain(&error), "Stored SVID does not serve any more")
            }
        }
    }
    tracing::info!(node_attestor_type = parts.attestor.name(), "SVID is not found. Starting node attestation");
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let since = parts.clock.now().as_secs();
    let mut attempts = 0;
    loop {
        attempts += 1;
        meters::bootstrapping(since, attempts);
        let outcome = match attest::attest_first(parts, bundle.as_ref()).await {
            Err(_) if departure == Departure::Permitted && parts.distrust.is_due() => {
                attest::rebootstrap(parts, None).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(caller) => {
                meters::bootstrapped();
                return Ok(caller);
            }
            Err(error) if error.is_final() => return Err(AgentError::AttestationRefused(error)),
            Err(error) => {
                let delay = backoff.next();
                tracing::warn!(error = %Chain(&error), retry_in_ms = millis(delay), "Failed to attest");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
