//! From an attestor's proof to what the store has to write. The only place that says what each kind of proof is worth.

use std::net::IpAddr;
use std::sync::Arc;

use plastron_attestation_appraise::{CheckRecord, NeedsApproval};
use plastron_plugins::node::Admission;
use plastron_spiffe::x509::VerifiedCsr;
use plastron_spiffe::{Selector, SpiffeId, TrustDomain};

use super::AdmissionError;
use crate::store::{AdmissionRecord, NodeSvid, TokenHash, TpmAdmission, WaitRecord};

/// Attestation type of a node with a TPM.
const TPM: &str = "tpm";
/// Attestation type of a node with a join token.
const JOIN_TOKEN: &str = "join_token";

/// A node that has proved itself and is not stored yet.
pub(super) struct Candidate {
    pub(super) id: SpiffeId,
    pub(super) token: Option<TokenHash>,
    pub(super) can_reattest: bool,
    pub(super) checks: Vec<CheckRecord>,
    attestation_type: &'static str,
    selectors: Vec<Selector>,
    tpm: Option<TpmAdmission>,
    /// What a person has to approve before.
    pub(super) needs_approval: Option<NeedsApproval>,
    /// The only key that the SVID may be for, where the proof is bound to one.
    bound_key: Option<Vec<u8>>,
}

impl Candidate {
    /// An attestor hands out its own kind of proof and no other.
    pub(super) fn new(
        attestation_type: &str,
        admission: Admission,
        trust_domain: &TrustDomain,
    ) -> Result<Self, AdmissionError> {
        let candidate = match admission {
            Admission::Tpm(node) => Self {
                id: trust_domain.with_path(&node.agent_path()).map_err(|_error| AdmissionError::NodeId)?,
                token: None,
                can_reattest: true,
                checks: node.records().to_vec(),
                attestation_type: TPM,
                selectors: sorted(node.selectors().to_vec()),
                tpm: Some(TpmAdmission {
                    enrolled: Arc::new(node.enrolled_tpm().clone()),
                    judged_against: node.judged_against().cloned().map(Arc::new),
                    event_log: node.event_log().cloned(),
                }),
                needs_approval: node.needs_approval(),
                bound_key: Some(node.svid_public_key().to_vec()),
            },
            Admission::Document(proof) => Self {
                id: proof.id().clone(),
                token: None,
                can_reattest: true,
                checks: proof.records().to_vec(),
                attestation_type: proof.attestation_type(),
                selectors: sorted(proof.selectors().to_vec()),
                tpm: None,
                needs_approval: None,
                bound_key: None,
            },
            Admission::JoinToken(token) => Self {
                id: token.agent_id(trust_domain).map_err(|_error| AdmissionError::NodeId)?,
                token: Some(TokenHash::of(token.reveal())),
                can_reattest: false,
                checks: Vec::new(),
                attestation_type: JOIN_TOKEN,
                selectors: Vec::new(),
                tpm: None,
                needs_approval: None,
                bound_key: None,
            },
        };
        if candidate.attestation_type == attestation_type {
            return Ok(candidate);
        }
        let (asked, proved) = (attestation_type.to_owned(), candidate.attestation_type);
        Err(AdmissionError::OtherAttestation { asked, proved })
    }

    /// Checks that the SVID is for the key that the proof is bound to.
    pub(super) fn check_key(&self, csr: &VerifiedCsr) -> Result<(), AdmissionError> {
        match &self.bound_key {
            Some(bound) if *bound != csr.public_key => Err(AdmissionError::OtherKey),
            _ => Ok(()),
        }
    }

    /// The attestor whose proof it is.
    pub(super) fn attestation_type(&self) -> &'static str {
        self.attestation_type
    }

    /// The node's ID as the audit log may show it before admission: that of a join-token node repeats the token.
    pub(super) fn shown_id(&self) -> Option<&SpiffeId> {
        if self.token.is_none() { Some(&self.id) } else { None }
    }

    /// The attempt of a TPM that a person has to approve.
    pub(super) fn waiting(&self, peer: Option<IpAddr>, now: i64) -> Option<WaitRecord> {
        let (asks_for, tpm) = (self.needs_approval?, self.tpm.as_ref()?);
        Some(WaitRecord {
            id: self.id.clone(),
            asks_for,
            proved: Arc::clone(&tpm.enrolled),
            source: peer.map_or_else(String::new, |peer| peer.to_string()),
            now,
        })
    }

    pub(super) fn record(&self, svid: NodeSvid, now: i64) -> AdmissionRecord {
        AdmissionRecord {
            id: self.id.clone(),
            attestation_type: self.attestation_type.to_owned(),
            svid,
            can_reattest: self.can_reattest,
            selectors: self.selectors.clone(),
            tpm: self.tpm.clone(),
            needs_approval: self.needs_approval,
            token: self.token,
            now,
        }
    }
}

fn sorted(mut selectors: Vec<Selector>) -> Vec<Selector> {
    selectors.sort_unstable();
    selectors.dedup();
    selectors
}
