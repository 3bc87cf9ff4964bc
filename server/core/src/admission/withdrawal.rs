//! Trust that was withdrawn while the server was down: a pool, a root, a TPM on the deny list.

use plastron_plugins::node::{JudgesEnrolled, RefusalCode};

use super::NodeAdmission;
use crate::audit::{self, AttestationOutcome, AttestationVerdict};
use crate::store::{CutOff, Node, Standing};

impl NodeAdmission {
    /// Judges every active node with a TPM again, by its record. One that would not be enrolled any more is cut off at once, and
    /// not only when it renews; it heals by attesting once it is trusted again. One of which nothing can be said (the revocation list is out
    /// of date) keeps what it has and gets nothing more. One audit line names each and its check.
    pub async fn judge_enrolled(&self, judge: &dyn JudgesEnrolled) {
        let wanted = |node: &Node| node.tpm.is_some() && matches!(node.standing, Standing::Active { .. });
        for node in self.ledger.state().nodes_after(None, usize::MAX, wanted) {
            // Each is a path of certificates: thousands of them must not keep a thread from everyone else.
            tokio::task::yield_now().await;
            let Some(enrolled) = node.tpm.as_deref() else { continue };
            let Err(refusal) = judge.judge_enrolled(enrolled, self.clock.now()) else { continue };
            let reason = refusal.to_string();
            let is_denied = refusal.code == RefusalCode::Denied;
            audit::attestation(AttestationVerdict {
                attestation_type: &node.attestation_type,
                node: Some(&node.id),
                peer: None,
                checks: &refusal.records,
                outcome: AttestationOutcome::Refused { verdict: refusal.verdict, reason: &reason },
            });
            if is_denied {
                self.cut_off_node(node.id.clone(), CutOff::UntilAdmitted, reason).await;
            }
        }
    }
}
