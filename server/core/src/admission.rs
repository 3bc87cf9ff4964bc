//! Node admission: from an attestor's proof to an agent SVID, in one transaction.
//!
//! [`NodeAdmission::begin`] verifies the CSR and starts the attestor's conversation; the two stay together, so that the SVID is
//! for the key that the evidence was bound to. Once the attestor is satisfied the agent SVID is signed and its audit line is written,
//! one transaction writes node, selectors, spent token and alias entry, and only then does the node get its SVID. A ban that is
//! committed before that transaction wins.

mod enrol;
mod error;
mod withdrawal;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use plastron_attestation_appraise::{Check, CheckOutcome, CheckRecord, Verdict};
use plastron_plugins::node::{
    Admission, AdmissionContext, NodeAttestor, NodeConversation, NodeStep, Refusal, RefusalCode,
};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{VerifiedCsr, verify_csr};

use crate::audit::{self, AttestationOutcome, AttestationVerdict, AuditLog, Issue, Recorded, Unrecorded};
use crate::authorization::{AgentDenial, Permit, rpc};
use crate::ca::{CertificateAuthority, IssuedSvid, Leaf};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::store::{AdmitError, CutOff, Decision, DecisionVerdict, Node, NodeError, NodeSvid, PendingTpm, TokenHash};

use enrol::Candidate;
pub use error::{AdmissionError, RenewalError};

/// Admits nodes and renews their SVIDs.
pub struct NodeAdmission {
    attestors: Vec<Arc<dyn NodeAttestor>>,
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    ttl: Duration,
}

/// A node that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedAgent {
    /// Its SVID.
    pub svid: Recorded<IssuedSvid>,
    /// Whether it renews by attesting again.
    pub reattestable: bool,
}

/// What the server answers to a message of the node.
pub enum AttestationStep {
    /// Send this challenge, and call the attestation's `step` with the response.
    Challenge(Vec<u8>, Attestation),
    /// The node is admitted; the conversation is over.
    Admitted(AdmittedAgent),
}

/// An attestation under way: one node's conversation with one attestor, about one key.
pub struct Attestation {
    conversation: Box<dyn NodeConversation>,
    attempt: Attempt,
}

/// What an attestation is about, whatever is said in it.
struct Attempt {
    admission: Arc<NodeAdmission>,
    attestation_type: String,
    csr: VerifiedCsr,
    peer: Option<IpAddr>,
}

impl NodeAdmission {
    /// `attestors`: one per attestation type; `ttl`: lifetime of agent SVIDs (`agent_ttl`).
    pub fn new(
        attestors: Vec<Arc<dyn NodeAttestor>>,
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
        ttl: Duration,
    ) -> Self {
        Self { attestors, ca, ledger, clock, audit, ttl }
    }

    /// Begins an attestation (first message of AttestAgent). Checks, in order: there is such an attestor; the CSR's signature.
    /// The payload goes to [`Attestation::step`].
    pub fn begin(
        self: &Arc<Self>,
        _permit: Permit<rpc::AttestAgent>,
        attestation_type: &str,
        csr: &[u8],
        peer: Option<IpAddr>,
    ) -> Result<Attestation, AdmissionError> {
        self.start(attestation_type, csr, peer).inspect_err(|error| {
            let reason = audit::chain(error);
            let outcome = error.outcome(&reason);
            audit::attestation(AttestationVerdict { attestation_type, node: None, peer, checks: &[], outcome });
        })
    }

    fn start(
        self: &Arc<Self>,
        attestation_type: &str,
        csr: &[u8],
        peer: Option<IpAddr>,
    ) -> Result<Attestation, AdmissionError> {
        let attestor = self
            .attestors
            .iter()
            .find(|attestor| attestor.name() == attestation_type)
            .ok_or_else(|| AdmissionError::UnknownAttestor { name: attestation_type.to_owned() })?;
        let csr = verify_csr(csr)?;
        let conversation = attestor.begin(AdmissionContext {
            trust_domain: self.ca.trust_domain().clone(),
            svid_public_key: Arc::from(csr.public_key.as_slice()),
            peer,
        });
        let attestation_type = attestation_type.to_owned();
        let attempt = Attempt { admission: Arc::clone(self), attestation_type, csr, peer };
        Ok(Attestation { conversation, attempt })
    }

    /// Renews the SVID of an agent that does not attest again (RenewAgent). The new serial number is pending until it is first
    /// used, and a node that is banned, evicted or renewed meanwhile gets nothing.
    pub async fn renew(
        &self,
        permit: Permit<rpc::RenewAgent>,
        csr: &[u8],
    ) -> Result<Recorded<IssuedSvid>, RenewalError> {
        let agent = permit.caller();
        let node = self.ledger.state().node(agent.id());
        let node = node.ok_or_else(|| NodeError::NotFound { id: agent.id().clone() })?;
        if node.can_reattest {
            return Err(RenewalError::Denied { id: node.id.clone(), reason: AgentDenial::MustReattest });
        }
        let csr = verify_csr(csr)?;
        let svid = self.sign(&node.id, &csr).await?;
        let issue = Issue { actor: permit.identity(), purpose: "agent renewal", withhold_id: false };
        let svid = self.audit.record(issue, None, svid).await?;
        let (id, presented, renewed) = (node.id.clone(), agent.serial().clone(), node_svid(&svid));
        let _node: Arc<Node> = self
            .ledger
            .write(Write::RenewNode, move |store| async move { store.renew(id, presented, renewed).await })
            .await?;
        tracing::debug!(spiffe_id = %svid.id, "Renewed agent SVID");
        Ok(svid)
    }

    async fn sign(&self, id: &SpiffeId, csr: &VerifiedCsr) -> Result<Unrecorded<IssuedSvid>, crate::ca::SignError> {
        let leaf = Leaf {
            spiffe_id: id,
            public_key: &csr.public_key,
            subject: None,
            dns_names: &[],
            ttl: self.ttl,
            not_after: None,
        };
        self.ca.sign(leaf).await
    }

    /// Whether the token could be spent now, before a signature is spent on it. The transaction decides.
    async fn check_token(&self, hash: Option<TokenHash>) -> Result<(), AdmitError> {
        let Some(hash) = hash else { return Ok(()) };
        if self.ledger.store().has_join_token(hash, unix_seconds(self.clock.now())).await? {
            return Ok(());
        }
        Err(AdmitError::TokenUnknown)
    }

    /// Makes a TPM wait where its pool wants a person to look first: nothing is signed for it before. The transaction that admits it
    /// uses the approval up.
    async fn check_approval(
        &self,
        candidate: &Candidate,
        peer: Option<IpAddr>,
    ) -> Result<Option<Decision>, AdmitError> {
        let Some(waiting) = candidate.waiting(peer, unix_seconds(self.clock.now())) else { return Ok(None) };
        let pending: PendingTpm = self
            .ledger
            .write(Write::KeepPendingTpm, move |store| async move { store.wait(waiting).await })
            .await
            .map_err(|error: AdmitError| error)?;
        let PendingTpm { id, asks_for, decision, .. } = pending;
        match decision {
            None => Err(AdmitError::Pending { id, asks_for }),
            Some(Decision { verdict: DecisionVerdict::Rejected, by, at: _, reason }) => {
                Err(AdmitError::Rejected { id, asks_for, by, reason })
            }
            approved @ Some(Decision { verdict: DecisionVerdict::Approved, .. }) => Ok(approved),
        }
    }

    /// Signs, records, then stores; the SVID leaves this function only if the transaction committed.
    async fn admit(
        &self,
        candidate: &mut Candidate,
        csr: &VerifiedCsr,
        peer: Option<IpAddr>,
    ) -> Result<AdmittedAgent, AdmissionError> {
        candidate.check_key(csr)?;
        self.check_token(candidate.token).await?;
        if let Some(Decision { verdict, by, at, reason }) = self.check_approval(candidate, peer).await? {
            let (check, outcome) = (Check::Approval, CheckOutcome::Passed);
            candidate.checks.push(CheckRecord {
                check,
                outcome,
                detail: format!("{verdict} by {by} at {at}: {reason:?}"),
            });
        }
        let svid = self.sign(&candidate.id, csr).await?;
        // Before the transaction: where no line can be written, no token is spent.
        let from = peer.map_or_else(String::new, |peer| format!(" from {peer}"));
        let actor = format!("{} node{from}", candidate.attestation_type());
        let withhold_id = candidate.shown_id().is_none();
        let issue = Issue { actor: &actor, purpose: "node attestation", withhold_id };
        let svid = self.audit.record(issue, None, svid).await?;
        let record = candidate.record(node_svid(&svid), unix_seconds(self.clock.now()));
        let _node: Arc<Node> = self
            .ledger
            .write(Write::AdmitNode, move |store| async move { store.admit(record).await })
            .await
            .map_err(|error: AdmitError| AdmissionError::from(error))?;
        Ok(AdmittedAgent { svid, reattestable: candidate.can_reattest })
    }

    /// What a refusal does to a node that the refused evidence is proven to be about.
    async fn cut_off(&self, refusal: &Refusal) {
        let Some(id) = self.proven_node(refusal).filter(|id| self.ledger.state().node(id).is_some()) else { return };
        let until = match refusal.check {
            Check::TpmStateRegressed => CutOff::UntilEvicted,
            _other => CutOff::UntilAdmitted,
        };
        self.cut_off_node(id, until, refusal.to_string()).await;
    }

    /// The node that refused evidence is proven to be about, whether it is enrolled or not.
    fn proven_node(&self, refusal: &Refusal) -> Option<SpiffeId> {
        self.ca.trust_domain().with_path(refusal.node.as_ref()?).ok()
    }

    async fn cut_off_node(&self, id: SpiffeId, until: CutOff, reason: String) {
        let node = id.clone();
        let result: Result<Arc<Node>, NodeError> = self
            .ledger
            .write(Write::CutNodeOff, move |store| async move { store.cut_off(node, until, reason).await })
            .await;
        if let Err(error) = result {
            tracing::error!(spiffe_id = %id, error = audit::chain(&error), "A node that is not to be trusted could not be cut off");
        }
    }
}

impl Attestation {
    /// Ends it where the node did not: it went away or was silent for too long (`Verdict::Indeterminate`), or said what it may not say
    /// now. One audit line says so.
    pub fn abandon(self, verdict: Verdict, reason: &str) {
        self.attempt.report(None, &[], AttestationOutcome::Refused { verdict, reason });
    }

    /// Takes the payload, then each challenge response. Whatever the end is, one audit line names every check.
    pub async fn step(self, message: &[u8]) -> Result<AttestationStep, AdmissionError> {
        let Self { mut conversation, attempt } = self;
        match conversation.step(message, attempt.admission.clock.now()).await {
            Ok(NodeStep::Challenge(challenge)) => {
                Ok(AttestationStep::Challenge(challenge, Self { conversation, attempt }))
            }
            Ok(NodeStep::Admit(admission)) => attempt.conclude(admission).await.map(AttestationStep::Admitted),
            Err(refusal) => {
                let node = attempt.admission.proven_node(&refusal);
                let reason = refusal.to_string();
                let outcome = AttestationOutcome::Refused { verdict: refusal.verdict, reason: &reason };
                attempt.report(node.as_ref(), &refusal.records, outcome);
                match refusal.code {
                    RefusalCode::Denied => attempt.admission.cut_off(&refusal).await,
                    // Told in the words that every banned node is told in, whichever step finds it out.
                    RefusalCode::Banned => return Err(AdmissionError::Admit(AdmitError::Banned)),
                    RefusalCode::Malformed | RefusalCode::NotYet | RefusalCode::Unavailable => {}
                }
                Err(AdmissionError::Refused(refusal))
            }
        }
    }
}

impl Attempt {
    async fn conclude(&self, admission: Admission) -> Result<AdmittedAgent, AdmissionError> {
        let trust_domain = self.admission.ca.trust_domain();
        let mut candidate = Candidate::new(&self.attestation_type, admission, trust_domain).inspect_err(|error| {
            self.report(None, &[], error.outcome(&audit::chain(error)));
        })?;
        let result = self.admission.admit(&mut candidate, &self.csr, self.peer).await;
        let mut checks = candidate.checks.clone();
        match &result {
            Ok(admitted) => {
                if candidate.token.is_some() {
                    let (check, outcome) = (Check::JoinToken, CheckOutcome::Passed);
                    checks.push(CheckRecord { check, outcome, detail: "spent".to_owned() });
                }
                // Its token is spent, so its ID is no secret any more.
                let (serial, not_after) = (admitted.svid.serial.to_decimal(), admitted.svid.not_after);
                self.report(Some(&candidate.id), &checks, AttestationOutcome::Admitted { serial: &serial, not_after });
            }
            Err(error) => {
                if let Some(check) = error.check() {
                    checks.push(CheckRecord { check, outcome: CheckOutcome::Failed, detail: error.to_string() });
                }
                self.report(candidate.shown_id(), &checks, error.outcome(&audit::chain(error)));
            }
        }
        result
    }

    fn report(&self, node: Option<&SpiffeId>, checks: &[CheckRecord], outcome: AttestationOutcome<'_>) {
        let (attestation_type, peer) = (self.attestation_type.as_str(), self.peer);
        audit::attestation(AttestationVerdict { attestation_type, node, peer, checks, outcome });
    }
}

fn node_svid(svid: &IssuedSvid) -> NodeSvid {
    NodeSvid { serial: svid.serial.clone(), not_after: svid.not_after }
}
