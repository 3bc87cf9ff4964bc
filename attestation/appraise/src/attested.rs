//! The last stage: a node whose TPM evidence passed every check.

use plastron_spiffe::Selector;

use crate::{CheckRecord, EkFingerprint, EnrolledTpm};

/// A node whose TPM evidence passed every check.
#[derive(Debug)]
pub struct AttestedNode {
    fingerprint: EkFingerprint,
    selectors: Vec<Selector>,
    svid_public_key: Vec<u8>,
    judged_against: Option<EnrolledTpm>,
    enrolled: EnrolledTpm,
    records: Vec<CheckRecord>,
}

impl AttestedNode {
    /// The EK that identifies the node.
    pub fn ek_fingerprint(&self) -> EkFingerprint {
        self.fingerprint
    }

    /// The path of its SPIFFE ID, `/spire/agent/tpm/<EK fingerprint>`.
    pub fn agent_path(&self) -> String {
        self.fingerprint.agent_path()
    }

    /// The pool that trusts the EK.
    pub fn pool(&self) -> &str {
        &self.enrolled.pool
    }

    /// What the evidence proves about the node, of type `tpm`.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// SubjectPublicKeyInfo that the quote is bound to: the only key that an SVID may now be issued for.
    pub fn svid_public_key(&self) -> &[u8] {
        &self.svid_public_key
    }

    /// Every check that was made, in order, for the audit line.
    pub fn records(&self) -> &[CheckRecord] {
        &self.records
    }

    /// The record to keep in place of the one it was judged against, if any.
    pub fn enrolled_tpm(&self) -> &EnrolledTpm {
        &self.enrolled
    }

    /// The record whose state and AK this admission was judged against; `None` for a node that was not known. An admission is
    /// stored only where the stored record is still this one: otherwise another conversation of the node was faster, and the
    /// node has to attest again.
    pub fn judged_against(&self) -> Option<&EnrolledTpm> {
        self.judged_against.as_ref()
    }
}
