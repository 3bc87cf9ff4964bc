//! TPMs that proved themselves and wait for a person, in the store.

use std::fmt;
use std::sync::Arc;

use plastron_attestation_appraise::EnrolledTpm;
pub use plastron_attestation_appraise::NeedsApproval;
use plastron_spiffe::SpiffeId;

use super::{AdmitError, Committed, StoreError};

/// A TPM that asks to be let in: one for each SPIFFE ID, and so for each EK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingTpm {
    /// The SPIFFE ID that the node would have.
    pub id: SpiffeId,
    /// What it asks for.
    pub asks_for: NeedsApproval,
    /// What its last attempt proved; its `claimed_*` are the node's own words.
    pub proved: Arc<EnrolledTpm>,
    /// Where its last attempt came from; empty on a Unix socket.
    pub source: String,
    /// First attempt, Unix seconds.
    pub first_seen: i64,
    /// Last attempt, Unix seconds.
    pub last_seen: i64,
    /// Attempts so far.
    pub attempts: i64,
    /// What a person decided.
    pub decision: Option<Decision>,
}

/// What a person decided on a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: DecisionVerdict,
    /// Who.
    pub by: String,
    /// When, Unix seconds.
    pub at: i64,
    /// Why.
    pub reason: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionVerdict {
    /// The next attempt is admitted, once.
    Approved,
    /// Every attempt is refused, until it is approved after all.
    Rejected,
}

impl fmt::Display for DecisionVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        })
    }
}

/// An attempt of a TPM that needs approval.
#[derive(Clone, Debug)]
pub struct WaitRecord {
    /// The SPIFFE ID that the node would have.
    pub id: SpiffeId,
    /// What it asks for.
    pub asks_for: NeedsApproval,
    /// What it proved.
    pub proved: Arc<EnrolledTpm>,
    /// Where it comes from; empty on a Unix socket.
    pub source: String,
    /// Now, Unix seconds.
    pub now: i64,
}

/// Keeps TPMs that wait. `NodeStore::admit` uses an approval up.
#[async_trait::async_trait]
pub trait PendingStore: Send + Sync {
    /// Notes an attempt, and hands out what is known of its TPM and decided on it. A decision on another question (a new node, a new
    /// AK) counts no more, and an approval counts for its pool alone. Neither a pool nor a source has more undecided TPMs than `MAX_PENDING_PER_POOL` and
    /// `MAX_PENDING_PER_SOURCE`: those that are there already go on waiting.
    async fn wait(&self, record: WaitRecord) -> Result<Committed<PendingTpm>, AdmitError>;

    /// All that wait, and those decided on, in the order of their first attempt.
    async fn pending(&self) -> Result<Vec<PendingTpm>, StoreError>;

    /// Writes down what a person decided.
    async fn decide(&self, id: SpiffeId, decision: Decision) -> Result<Committed<PendingTpm>, PendingError>;
}

/// Why nothing is decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PendingError {
    /// No such TPM waits.
    #[error("no TPM waits to become {id}")]
    NotFound {
        /// The SPIFFE ID.
        id: SpiffeId,
    },
    /// The store failed.
    #[error("the decision can't be stored")]
    Store(#[from] StoreError),
}
