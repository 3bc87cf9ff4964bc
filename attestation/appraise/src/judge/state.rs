//! The TPM's counters: they only go forward for one EK and AK, so a step back is a copy, a rollback or a replay.

use crate::{AppraiseError, TpmState};

/// Checks, in order: resetCount does not fall; within one reset, restartCount does not fall; and neither does the clock, where both
/// quotes say that it is safe (after a power cut, safe = 0, it may repeat a few seconds).
pub(crate) fn check(before: &TpmState, now: &TpmState) -> Result<(), AppraiseError> {
    let regressed = |what, before, now| AppraiseError::StateRegressed { what, before, now };
    if now.reset_count < before.reset_count {
        return Err(regressed("resetCount", before.reset_count.into(), now.reset_count.into()));
    }
    if now.reset_count > before.reset_count {
        return Ok(());
    }
    if now.restart_count < before.restart_count {
        return Err(regressed("restartCount", before.restart_count.into(), now.restart_count.into()));
    }
    if before.safe && now.safe && now.clock < before.clock {
        return Err(regressed("clock", before.clock, now.clock));
    }
    Ok(())
}
