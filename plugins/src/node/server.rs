//! The server's half of a node attestor.

use std::net::IpAddr;
use std::sync::Arc;

use plastron_attestation_appraise::{Check, CheckRecord, EnrolledTpm, Verdict};
use plastron_spiffe::{SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use super::DocumentProof;

/// What the server knows when a node begins to attest.
#[derive(Clone, Debug)]
pub struct AdmissionContext {
    /// The server's trust domain.
    pub trust_domain: TrustDomain,
    /// SubjectPublicKeyInfo of the CSR, whose signature is verified; the SVID will carry this key.
    pub svid_public_key: Arc<[u8]>,
    /// Where the connection comes from; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
}

/// A node attestor: one per attestation type.
pub trait NodeAttestor: Send + Sync {
    /// The attestation type on the wire (`tpm`, `join_token`) and the selector type.
    fn name(&self) -> &str;

    /// Begins a conversation. Cheap: nothing was received yet.
    fn begin(&self, context: AdmissionContext) -> Box<dyn NodeConversation>;
}

/// The second, optional ability of an attestor: to judge TPMs that it enrolled by what it trusts now, without hearing from them.
pub trait JudgesEnrolled: Send + Sync {
    /// Whether it would still enrol this TPM. The refusal names the check; its `node` is the TPM's.
    fn judge_enrolled(&self, enrolled: &EnrolledTpm, now: UnixTime) -> Result<(), Refusal>;
}

/// One node's attempt to be admitted.
#[async_trait::async_trait]
pub trait NodeConversation: Send {
    /// Takes the payload (first call), then each challenge response. After `Admit` or an error nothing more is called.
    async fn step(&mut self, message: &[u8], now: UnixTime) -> Result<NodeStep, Refusal>;
}

/// What the server does next.
pub enum NodeStep {
    /// Send this challenge and wait for a response. Never empty.
    Challenge(Vec<u8>),
    /// The node has proved itself.
    Admit(Admission),
}

/// Proof that a node may be admitted; `server/core` never takes a bare SPIFFE ID from an attestor.
pub enum Admission {
    /// A TPM 2.0 proved its EK, AK, and what it booted.
    Tpm(Box<plastron_attestation_appraise::AttestedNode>),
    /// A document vouches for the node.
    Document(DocumentProof),
    /// A join token was presented; it is spent in the transaction that admits the node, or the node is refused.
    JoinToken(PresentedToken),
}

/// A join token as the node presented it. Whether it is good, only the store's transaction tells.
pub struct PresentedToken {
    token: Zeroizing<String>,
}

impl PresentedToken {
    /// Wraps the token that a node sent.
    pub fn new(token: Zeroizing<String>) -> Self {
        Self { token }
    }

    /// The token itself: needed once, for its hash and for the node's ID.
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// `spiffe://td/spire/agent/join_token/<token>`.
    pub fn agent_id(&self, trust_domain: &TrustDomain) -> Result<SpiffeId, plastron_spiffe::SpiffeIdError> {
        trust_domain.with_path(&format!("/spire/agent/join_token/{}", self.reveal()))
    }
}

/// A node that is not admitted: the peer learns the code, the audit log learns the check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {detail}")]
pub struct Refusal {
    /// The check that failed.
    pub check: Check,
    /// What failed, on which input, with both sides; escaped where it comes from the node.
    pub detail: String,
    /// What is known of the node; never `Verdict::Trusted`.
    pub verdict: Verdict,
    /// What the peer is told. `Verdict::Indeterminate` and `Verdict::Error` are never `Denied` or `Banned`.
    pub code: RefusalCode,
    /// Every check made until then, in order, the failed one last.
    pub records: Vec<CheckRecord>,
    /// Path of the agent ID that the refused evidence is proven to be about; `None` until a signature proved it, and always for
    /// attestors that can't tell. A `TpmStateRegressed` about a node puts it in quarantine; any other refusal cuts it off until
    /// it attests again.
    pub node: Option<String>,
}

/// What a refused peer learns; mapped to gRPC codes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// The message makes no sense: InvalidArgument.
    Malformed,
    /// The evidence is bad: PermissionDenied.
    Denied,
    /// An operator banned the node: PermissionDenied, and the peer is told that much.
    Banned,
    /// Known, but waiting for an operator, or the node can't be judged now: FailedPrecondition.
    NotYet,
    /// Try again later: Unavailable.
    Unavailable,
}
