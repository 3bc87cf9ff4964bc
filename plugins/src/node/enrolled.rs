//! How node attestors look up what the server knows: nodes and the trust bundle in memory, event logs in the store.

use std::sync::Arc;

use plastron_attestation_appraise::{EkFingerprint, KnownTpm};
use plastron_attestation_tcg::Name;
use plastron_spiffe::Bundle;

/// The TPMs that the server knows. Answered from memory: no database read. Both look-ups answer for banned and quarantined nodes too.
pub trait EnrolledTpms: Send + Sync {
    /// The node that has this AK, or had it: the index holds `EnrolledTpm::ak_name` and every retired AK name.
    fn by_ak_name(&self, ak_name: &Name) -> Option<KnownTpm>;

    /// The node with this EK.
    fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<KnownTpm>;
}

/// The event logs that the server keeps, each once, whoever sent it.
#[async_trait::async_trait]
pub trait KeptEventLogs: Send + Sync {
    /// The log of `len` bytes with this SHA-256; `None` where it is not kept. No other length is read, so that whoever announces less
    /// makes the server take no more memory than that. Called only for a node whose quote is verified.
    async fn event_log(&self, sha256: &[u8; 32], len: u32) -> Result<Option<Vec<u8>>, KeptEventLogsError>;
}

/// The logs can't be read now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kept event logs can't be read: {reason}")]
pub struct KeptEventLogsError {
    /// Why not.
    pub reason: String,
}

/// The trust domain's own bundle, for attestors that take its SVIDs. Answered from memory.
pub trait TrustBundle: Send + Sync {
    /// The bundle as it is now; `None` before the first authority.
    fn trust_bundle(&self) -> Option<Arc<Bundle>>;
}
