//! A private key that never leaves the hardware it was made in.

use std::fmt;
use std::sync::Arc;

use super::AgentAttestError;

/// An ECDSA P-256 key in hardware.
pub trait HeldKey: fmt::Debug + Send + Sync {
    /// SubjectPublicKeyInfo, DER.
    fn public_key(&self) -> &[u8];

    /// Signs a message: ECDSA with SHA-256, DER. Blocks while the hardware signs, which takes a discrete TPM some tenths of a second.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HeldKeyError>;
}

/// The second, optional ability of an agent's attestor: to hold the key of the agent's SVID where its evidence comes from.
#[async_trait::async_trait]
pub trait HoldsSvidKey: Send + Sync {
    /// The key, which is made when it is first asked for and stays the same until its hardware forgets it. Evidence of a conversation
    /// about this key says that it is held.
    async fn svid_key(&self) -> Result<Arc<dyn HeldKey>, AgentAttestError>;
}

/// The hardware does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hardware that holds the key does not sign: {reason}")]
pub struct HeldKeyError {
    /// What it answered.
    pub reason: String,
}
