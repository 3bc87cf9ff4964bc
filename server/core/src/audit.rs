//! Audit: one structured line per attestation and per administrative change, on the tracing target `audit`.
//!
//! Lines name things, never secrets: no token, no key. What a node or a caller may have written is escaped.
//!
//! Two ways lead to the log. What leaves the server, or must not be done without its line, goes by [`AuditLog`], which says whether
//! the line was written. What was done already is an event of the target `audit` ([`attestation`], [`change`]): the sink keeps such
//! a line until it can be written, and until then nothing is issued.

mod issued;
mod sink;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use plastron_attestation_appraise::CheckRecord;
pub use plastron_attestation_appraise::Verdict;
use plastron_spiffe::SpiffeId;

pub use issued::{Document, DocumentFacts, DocumentIdentity, Issue, Recorded, Unrecorded};
pub use sink::{Announced, AuditLine, AuditLog, AuditSink, AuditSinkError, AuditValue};

/// Target of all audit lines.
pub const TARGET: &str = "audit";
/// Target of audit lines that say that nothing was done: anyone can cause any number of them, so a sink that can't write keeps fewer.
pub const REFUSAL_TARGET: &str = "audit::refusal";

/// Longest attestation type that is shown: that of every attestor is shorter.
const MAX_TYPE_LEN: usize = 64;
/// Longest detail or reason that is shown, in characters: our own are below 500, and a line must stay one that a person can read.
const MAX_TEXT_LEN: usize = 2048;
/// Longest identifier that is shown of those that a caller made up: an entry's is a UUID, and may be any text of up to 255 characters.
const MAX_NAME_LEN: usize = 255;

/// An attestation that came to an end.
#[derive(Clone, Copy, Debug)]
pub struct AttestationVerdict<'a> {
    /// The attestation type that the node asked for; empty where it named none.
    pub attestation_type: &'a str,
    /// The node, where it is known.
    pub node: Option<&'a SpiffeId>,
    /// Where it comes from.
    pub peer: Option<IpAddr>,
    /// Every check that was made, in order.
    pub checks: &'a [CheckRecord],
    /// What ended it.
    pub outcome: AttestationOutcome<'a>,
}

/// How an attestation ended.
#[derive(Clone, Copy, Debug)]
pub enum AttestationOutcome<'a> {
    /// The node was admitted with this SVID.
    Admitted {
        /// Serial number of the SVID, decimal.
        serial: &'a str,
        /// Unix seconds.
        not_after: u64,
    },
    /// The node waits for a person; nothing is wrong with its evidence.
    Pending {
        /// What it waits for, in words.
        reason: &'a str,
    },
    /// The node was refused.
    Refused {
        /// What is known of it.
        verdict: Verdict,
        /// Why, in words.
        reason: &'a str,
    },
}

/// Writes the line of an attestation.
pub fn attestation(verdict: AttestationVerdict<'_>) {
    let AttestationVerdict { attestation_type, node, peer, checks, outcome } = verdict;
    let node = node.map_or("", SpiffeId::as_str);
    let peer = peer.map_or_else(String::new, |peer| peer.to_string());
    let attestation_type = shown(attestation_type, MAX_TYPE_LEN);
    let checks = describe(checks);
    match outcome {
        AttestationOutcome::Admitted { serial, not_after } => tracing::info!(
            target: TARGET,
            r#type = "audit", event = "node attestation", verdict = %Verdict::Trusted, %attestation_type, node, peer, checks, serial, not_after,
            "Node admitted"
        ),
        AttestationOutcome::Pending { reason } => {
            let reason = shown(reason, MAX_TEXT_LEN);
            tracing::info!(
                target: REFUSAL_TARGET,
                r#type = "audit", event = "node attestation", verdict = "pending", %attestation_type, node, peer, checks, reason,
                "Node waits"
            );
        }
        AttestationOutcome::Refused { verdict, reason } => {
            let refused = match verdict {
                Verdict::Untrusted => "refused: ",
                // Nobody decided against the node.
                Verdict::Indeterminate | Verdict::Error | Verdict::Trusted => "",
            };
            let reason = format!("{refused}{}", shown(reason, MAX_TEXT_LEN));
            tracing::warn!(
                target: REFUSAL_TARGET,
                r#type = "audit", event = "node attestation", %verdict, %attestation_type, node, peer, checks, reason,
                "Node refused"
            );
        }
    }
}

/// Writes the line of an administrative change. `subject`: what was changed; `outcome`: `ok` or the reason why not.
pub fn change(actor: &str, action: &'static str, subject: &str, outcome: &str) {
    let (subject, outcome) = (subject.escape_debug(), outcome.escape_debug());
    tracing::info!(target: TARGET, r#type = "audit", event = action, actor, %subject, %outcome, "{action}");
}

/// A moment as people read it.
fn utc(unix_seconds: u64) -> String {
    der::DateTime::from_unix_duration(Duration::from_secs(unix_seconds))
        .map_or_else(|_out_of_range| unix_seconds.to_string(), |moment| moment.to_string())
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// `ok`, or why not.
pub(crate) fn outcome<T, E: std::error::Error>(result: &Result<T, E>) -> String {
    match result {
        Ok(_done) => "ok".to_owned(),
        Err(error) => chain(error),
    }
}

/// `Check=outcome(detail)`, in order.
fn describe(checks: &[CheckRecord]) -> String {
    let mut text = String::new();
    for CheckRecord { check, outcome, detail } in checks {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a String can't fail.
        let _ = write!(text, "{separator}{check}={outcome}");
        if !detail.is_empty() {
            let _ = write!(text, "({})", shown(detail, MAX_TEXT_LEN));
        }
    }
    text
}

/// What is not printable is escaped once more: whoever wrote the text may have forgotten. Quotes and backslashes are left to the log's
/// format, which escapes them, or a person would read each of them twice escaped.
fn shown(text: &str, max_len: usize) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        match character {
            _more if count == max_len => {
                shown.push('…');
                break;
            }
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use plastron_attestation_appraise::{Check, CheckOutcome};

    #[test]
    fn what_a_node_wrote_can_not_break_the_line() {
        let record = CheckRecord {
            check: Check::Malformed,
            outcome: CheckOutcome::Failed,
            detail: "\u{1b}[2Jevil\nverdict=trusted".to_owned(),
        };
        assert_eq!(describe(&[record]), "malformed=failed(\\u{1b}[2Jevil\\nverdict=trusted)");
    }

    /// What appraisal quotes is quoted once, and the log's format escapes that once.
    #[test]
    fn quotes_are_not_escaped_twice_and_endless_text_is_cut() {
        let (check, outcome) = (Check::Malformed, CheckOutcome::Failed);
        let record = CheckRecord { check, outcome, detail: format!("model {:?}", "swtpm \u{1b}") };
        assert_eq!(describe(&[record]), "malformed=failed(model \"swtpm \\u{1b}\")");
        let record = CheckRecord { check, outcome, detail: "a".repeat(1 << 20) };
        assert_eq!(describe(&[record]).chars().count(), "malformed=failed()".len() + MAX_TEXT_LEN + 1);
    }
}
