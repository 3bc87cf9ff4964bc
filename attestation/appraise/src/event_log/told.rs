//! What a log tells of one PCR, for the person who has to understand why its value was refused. Nothing is decided by it.

use std::fmt::{self, Write as _};

use plastron_attestation_tcg::event_log::{EventType, RawEvent};

use super::facts::Provenance;
use super::{Facts, ReplayedLog};

/// Most characters that all events take: a line of the audit log has 2048 for a refusal, and two digests need their place.
const MAX_SHOWN: usize = 1400;

/// The events that made a PCR's value, the last ones first, each with its number, its provenance and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrEvents {
    /// `None`: there is no log, or it does not replay to the quoted value of this PCR.
    told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    shown: Vec<String>,
    left_out: usize,
}

impl PcrEvents {
    /// What this log tells of PCR `index`.
    pub(crate) fn of(log: Option<&ReplayedLog<'_>>, index: u8) -> Self {
        let Some(log) = log.filter(|log| log.is_proven(index)) else { return Self { told: None } };
        let facts = log.facts();
        let events = log.raw().events().iter().rev().filter(|event| event.pcr == index && event.is_extended());
        let (mut shown, mut left, mut left_out) = (Vec::new(), MAX_SHOWN, 0);
        for event in events {
            if left == 0 {
                left_out += 1;
                continue;
            }
            let text = cut(line(event, &facts), left);
            left = left.saturating_sub(text.chars().count());
            shown.push(text);
        }
        Self { told: Some(Told { shown, left_out }) }
    }
}

impl fmt::Display for PcrEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Told { shown, left_out }) = &self.told else {
            return f.write_str("no event log tells what was measured");
        };
        if shown.is_empty() {
            return f.write_str("the event log has nothing that was measured");
        }
        write!(f, "it was made by {}", shown.join("; "))?;
        if *left_out > 0 {
            write!(f, "; and {left_out} before")?;
        }
        Ok(())
    }
}

/// A text that is too long without its middle: both ends of a command line are worth seeing.
fn cut(text: String, limit: usize) -> String {
    let len = text.chars().count();
    if len <= limit {
        return text;
    }
    let half = limit / 2;
    let (head, tail): (String, String) = (text.chars().take(half).collect(), text.chars().skip(len - half).collect());
    format!("{head}… {} characters …{tail}", len - 2 * half)
}

fn line(event: &RawEvent<'_>, facts: &Facts) -> String {
    let provenance = facts.provenance(event.number).unwrap_or(Provenance::Untrusted);
    let mut line = format!("event {}, {}: ", event.number, provenance.name());
    match boot_loader_text(event) {
        // Writing to a String can't fail.
        Some(text) => drop(write!(line, "{text:?}")),
        None => line.push_str(&Facts::text(event)),
    }
    line
}

/// Commands and command lines, whole: what was changed may stand at the end.
fn boot_loader_text<'a>(event: &RawEvent<'a>) -> Option<&'a str> {
    if event.claimed_type != EventType::IPL {
        return None;
    }
    let text = std::str::from_utf8(event.data.strip_suffix(b"\0").unwrap_or(event.data)).ok()?;
    (!text.contains('\0')).then_some(text)
}
