//! Audit: one structured line per attestation and per administrative change, on the tracing target `audit`.
//!
//! Lines name things, never secrets: no token, no key. What a node or a caller may have written is escaped. A sink that fails
//! does not stop issuance yet.

use std::fmt::Write as _;
use std::net::IpAddr;

use plastron_attestation_appraise::CheckRecord;
use plastron_spiffe::SpiffeId;

/// Target of all audit lines.
pub const TARGET: &str = "audit";

/// An attestation that came to an end.
#[derive(Clone, Copy, Debug)]
pub struct AttestationVerdict<'a> {
    /// The attestation type that the node asked for.
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
    /// The node was refused.
    Refused {
        /// Why, in words.
        reason: &'a str,
    },
}

/// Writes the line of an attestation.
pub fn attestation(verdict: AttestationVerdict<'_>) {
    let AttestationVerdict { attestation_type, node, peer, checks, outcome } = verdict;
    let node = node.map_or("", SpiffeId::as_str);
    let peer = peer.map_or_else(String::new, |peer| peer.to_string());
    let attestation_type = attestation_type.escape_debug();
    let checks = describe(checks);
    match outcome {
        AttestationOutcome::Admitted { serial, not_after } => tracing::info!(
            target: TARGET,
            r#type = "audit", event = "node attestation", verdict = "admitted", %attestation_type, node, peer, checks, serial, not_after,
            "Node admitted"
        ),
        AttestationOutcome::Refused { reason } => tracing::warn!(
            target: TARGET,
            r#type = "audit", event = "node attestation", verdict = "refused", %attestation_type, node, peer, checks, reason,
            "Node refused"
        ),
    }
}

/// Writes the line of an administrative change. `subject`: what was changed; `outcome`: `ok` or the reason why not.
pub fn change(actor: &str, action: &'static str, subject: &str, outcome: &str) {
    let (subject, outcome) = (subject.escape_debug(), outcome.escape_debug());
    tracing::info!(target: TARGET, r#type = "audit", event = action, actor, %subject, %outcome, "{action}");
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

/// `Check=outcome(detail)`, in order. Details are escaped once more: whoever wrote them may have forgotten.
fn describe(checks: &[CheckRecord]) -> String {
    let mut text = String::new();
    for CheckRecord { check, outcome, detail } in checks {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a String can't fail.
        let _ = write!(text, "{separator}{check}={outcome}");
        if !detail.is_empty() {
            let _ = write!(text, "({})", detail.escape_debug());
        }
    }
    text
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
            detail: "\u{1b}[2Jevil\nverdict=admitted".to_owned(),
        };
        assert_eq!(describe(&[record]), "malformed=failed(\\u{1b}[2Jevil\\nverdict=admitted)");
    }
}
