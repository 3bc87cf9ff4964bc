//! What the log of a boot proves: `RawLog` → [`ReplayedLog`], bound to one quote → facts.

pub mod facts;
mod finding;
mod judge;
mod quirks;
mod replay;
mod replayed;
mod told;
mod witness;

pub use facts::Facts;
pub use finding::{Finding, FindingKind};
pub use judge::JudgedBoot;
pub use quirks::{Handling, QUIRKS, Quirk, SeenQuirk};
pub use replay::Replay;
pub use replayed::{LastEvent, ReplayedLog};
pub use told::PcrEvents;

use plastron_attestation_tcg::event_log::RawLog;

use crate::{AppraiseError, BootPolicy, Check, Checklist, MissingEventLog, VerifiedQuote};

/// Judges the log that came with a quote, or that none came. Checks, in order: there is a log, unless `policy` accepts that there is
/// none (then the result is `None`, and `checks` says so); it is well-formed; it replays, as [`ReplayedLog::verify`] says.
pub fn judge<'a>(
    log: Option<&'a [u8]>,
    quote: &VerifiedQuote,
    policy: &BootPolicy,
    checks: &mut Checklist,
) -> Result<Option<ReplayedLog<'a>>, AppraiseError> {
    let parsed = match log.map(RawLog::parse) {
        None => Err(AppraiseError::EventLogMissing),
        Some(parsed) => parsed.map_err(AppraiseError::from),
    };
    match (parsed, policy.missing_event_log) {
        (Ok(log), _) => {
            checks.pass(Check::EventLogMissing, format!("{} bytes, {} events", log.bytes().len(), log.events().len()));
            ReplayedLog::verify(log, quote, policy, checks).map(Some)
        }
        (Err(AppraiseError::EventLogMissing), MissingEventLog::Accept) => {
            checks.not_checked(Check::EventLogMissing, "no event log: the pool accepts that");
            Ok(None)
        }
        (Err(error), _) => Err(error),
    }
}
