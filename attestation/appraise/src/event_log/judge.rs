//! Whether a boot was what its pool demands: `JudgedBoot` is the proof. The one place that says which findings refuse.
//!
//! Findings about a PCR that was not compared with the quote are about words; they refuse nothing, and no demand can be met by them. A
//! list that is full is the exception.

use super::{Facts, Finding, FindingKind, ReplayedLog};
use crate::{AppraiseError, Check, Checklist, DriversBeforeSeparator, EmptySecureBoot, Pool, VerifiedQuote};

/// Checks that no finding may fail, in the order in which a verdict shows them.
const CHECKS: [Check; 6] = [
    Check::Separators,
    Check::SecureBootEvents,
    Check::DebugMode,
    Check::LateBootApplication,
    Check::UnknownEvent,
    Check::FactLimit,
];

/// Most notes of one check that a verdict shows, those of exceptions first, and the most characters of each.
const MAX_NOTES: usize = 4;
const MAX_NOTE: usize = 400;

/// A boot that is what its pool demands.
#[derive(Debug)]
pub struct JudgedBoot {
    secure_boot: Option<bool>,
}

/// What becomes of a finding.
enum Outcome {
    /// It refuses the boot by this check.
    Refuses(Check),
    /// The pool makes an exception, which belongs to this check.
    Excepted(Check),
    /// People should know.
    Noted(Check),
}

impl JudgedBoot {
    /// Checks, in order: the log is that of this quote; the findings, each by its own check; the state of Secure Boot, where the pool
    /// demands one. A node without a log gets here only where the pool takes that, and then nothing of this is checked.
    pub fn judge(
        log: Option<&ReplayedLog<'_>>,
        quote: &VerifiedQuote,
        pool: &Pool,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        let Some(log) = log else {
            CHECKS.iter().for_each(|check| checks.not_checked(*check, "no event log"));
            checks.not_checked(Check::SecureBoot, "no event log");
            return Ok(Self { secure_boot: None });
        };
        log.check_subject(quote)?;
        let facts = log.facts();
        let mut notes: Vec<(Check, bool, String)> = Vec::new();
        for finding in &facts.findings {
            // Whatever filled a list, what it left out can be about a PCR that was compared.
            if finding.kind != FindingKind::FactLimit && finding.pcr.is_some_and(|pcr| !log.is_proven(pcr)) {
                continue;
            }
            match outcome(finding, pool) {
                Outcome::Refuses(check) => {
                    return Err(AppraiseError::BootEvent { check, finding: Box::new(finding.clone()) });
                }
                Outcome::Excepted(check) => notes.push((check, true, format!("accepted by an exception: {finding}"))),
                Outcome::Noted(check) => notes.push((check, false, format!("noted: {finding}"))),
            }
        }
        // Texts that are not what was hashed are no facts; the log is that of the boot all the same.
        let odd = notes.iter().filter(|(check, ..)| *check == Check::EventLogReplay);
        let odd = detail(odd.map(|(.., text)| text.as_str()));
        if !odd.is_empty() {
            checks.pass(Check::EventLogReplay, odd);
        }
        for check in CHECKS {
            let own = |excepted: bool| notes.iter().filter(move |(of, is, _)| *of == check && *is == excepted);
            let detail = detail(own(true).chain(own(false)).map(|(.., text)| text.as_str()));
            if own(true).next().is_some() {
                checks.not_checked(check, detail);
            } else {
                checks.pass(check, detail);
            }
        }
        let secure_boot = judge_secure_boot(&facts, pool, checks)?;
        Ok(Self { secure_boot })
    }

    /// The state of Secure Boot, where a verified fact tells it.
    pub fn secure_boot(&self) -> Option<bool> {
        self.secure_boot
    }
}

/// The first notes, and how many more there are: a node can write as many as it likes.
fn detail<'n>(notes: impl Iterator<Item = &'n str>) -> String {
    let mut notes = notes.peekable();
    let mut shown: Vec<String> = notes.by_ref().take(MAX_NOTES).map(cut).collect();
    match notes.count() {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown.join("; ")
}

/// The beginning of a note that is too long.
fn cut(note: &str) -> String {
    match note.char_indices().nth(MAX_NOTE) {
        Some((end, _)) => format!("{}…", note.get(..end).unwrap_or_default()),
        None => note.to_owned(),
    }
}

fn outcome(finding: &Finding, pool: &Pool) -> Outcome {
    match finding.kind {
        FindingKind::Check(check) => Outcome::Refuses(check),
        FindingKind::FactLimit => Outcome::Refuses(Check::FactLimit),
        // Whether a log with SHA-1 alone counts was decided when it was replayed.
        FindingKind::Sha1EventLog => Outcome::Noted(Check::EventLogBanks),
        FindingKind::UnknownEvent if finding.pcr.is_some_and(|pcr| pool.golden.contains_key(&pcr)) => {
            Outcome::Refuses(Check::UnknownEvent)
        }
        FindingKind::UnknownEvent => Outcome::Noted(Check::UnknownEvent),
        FindingKind::SecureBootWithoutPk if pool.boot.secure_boot.is_some() => {
            Outcome::Refuses(Check::SecureBootEvents)
        }
        FindingKind::AuthorityBeforeSeparator => match pool.boot.drivers_before_separator {
            DriversBeforeSeparator::Refuse => Outcome::Refuses(Check::SecureBootEvents),
            DriversBeforeSeparator::Accept => Outcome::Excepted(Check::SecureBootEvents),
        },
        FindingKind::ShimVerifiesNothing if pool.boot.secure_boot == Some(true) => {
            Outcome::Refuses(Check::SecureBootEvents)
        }
        FindingKind::SecureBootWithoutPk
        | FindingKind::ShimVerifiesNothing
        | FindingKind::SetupMode
        | FindingKind::EmptySecureBoot
        | FindingKind::AuthorityWithoutSecureBoot
        | FindingKind::DmaProtectionDisabled => Outcome::Noted(Check::SecureBootEvents),
        FindingKind::UntrustedText
        | FindingKind::RetypedApplication
        | FindingKind::MalformedData
        | FindingKind::AmbiguousCommandLine
        | FindingKind::ResettablePcr => Outcome::Noted(Check::EventLogReplay),
    }
}

fn judge_secure_boot(facts: &Facts, pool: &Pool, checks: &mut Checklist) -> Result<Option<bool>, AppraiseError> {
    let fact = facts.secure_boot.enabled.as_ref();
    let place = fact.map(|fact| format!(" (event {})", fact.event())).unwrap_or_default();
    let (state, what) = match fact.map(|fact| fact.verified()) {
        None => (None, "not known: no SecureBoot variable was measured".to_owned()),
        Some(Err(untrusted)) => (None, format!("not known: {untrusted}")),
        Some(Ok(Some(enabled))) if facts.has(FindingKind::SecureBootWithoutPk) => {
            (None, format!("not known: {} without a platform key", name(*enabled)))
        }
        Some(Ok(Some(true))) if facts.has(FindingKind::ShimVerifiesNothing) => {
            (None, format!("not known: {}{place}, and shim verifies nothing", name(true)))
        }
        Some(Ok(Some(enabled))) => (Some(*enabled), format!("{}{place}", name(*enabled))),
        Some(Ok(None)) => match pool.boot.empty_secure_boot {
            EmptySecureBoot::Disabled => (Some(false), "disabled, by an exception: the variable is empty".to_owned()),
            EmptySecureBoot::Unknown => (None, format!("not known: the SecureBoot variable is empty{place}")),
        },
    };
    match pool.boot.secure_boot {
        None => checks.not_checked(Check::SecureBoot, format!("the pool demands no state; it is {what}")),
        Some(wanted) if state == Some(wanted) => checks.pass(Check::SecureBoot, what),
        Some(wanted) => return Err(AppraiseError::SecureBoot { got: what, wanted: name(wanted) }),
    }
    Ok(state)
}

fn name(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}
