//! The agent's half of a node attestor.

use std::sync::Arc;

use plastron_spiffe::TrustDomain;

/// What the agent knows when it begins to attest.
#[derive(Clone, Debug)]
pub struct AgentContext {
    /// The trust domain of the agent's own configuration.
    pub trust_domain: TrustDomain,
    /// SubjectPublicKeyInfo of the key that the SVID will carry, DER; the evidence is bound to it.
    pub svid_public_key: Arc<[u8]>,
}

/// A node attestor on the agent.
pub trait AgentNodeAttestor: Send + Sync {
    /// The attestation type on the wire.
    fn name(&self) -> &str;

    /// Begins a conversation.
    fn begin(&self, context: AgentContext) -> Box<dyn AgentConversation>;
}

/// One attempt to be admitted, seen from the agent.
#[async_trait::async_trait]
pub trait AgentConversation: Send {
    /// The first message. Never empty.
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError>;

    /// Answers a challenge. Never empty.
    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError>;

    /// The server admitted the node: what the attempt learnt (a new AK) may now be kept.
    async fn admitted(&mut self) -> Result<(), AgentAttestError>;
}

/// Why the agent's half can't go on.
#[derive(Debug, thiserror::Error)]
#[error("node attestor {attestor}: {reason}")]
pub struct AgentAttestError {
    /// The attestation type.
    pub attestor: String,
    /// What failed and what to do next.
    pub reason: String,
}
