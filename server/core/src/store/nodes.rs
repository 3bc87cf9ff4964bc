//! Attested nodes in the store.

use std::sync::Arc;

use plastron_attestation_appraise::{EnrolledTpm, NeedsApproval, SentLog};
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{Selector, SpiffeId};

use super::{Committed, StoreError, TokenHash};

/// A node that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its SPIFFE ID, below `/spire/agent`.
    pub id: SpiffeId,
    /// The attestor that admitted it.
    pub attestation_type: String,
    /// Whether it may call, and with which SVIDs.
    pub standing: Standing,
    /// Whether it renews its SVID by attesting again.
    pub can_reattest: bool,
    /// What attestation found out; sorted, no duplicates.
    pub selectors: Vec<Selector>,
    /// The version that the agent says it has; empty before it said so.
    pub agent_version: String,
    /// What the TPM attestor enrolled; `None` for other attestors.
    pub tpm: Option<Arc<EnrolledTpm>>,
}

impl Node {
    /// Unix seconds after which none of its SVIDs is valid.
    pub fn expires_at(&self) -> u64 {
        match &self.standing {
            Standing::Active { current, pending } => {
                pending.as_ref().map_or(current.not_after, |pending| pending.not_after.max(current.not_after))
            }
            Standing::CutOff { not_after, .. }
            | Standing::Quarantined { not_after, .. }
            | Standing::Banned { not_after } => *not_after,
        }
    }

    /// Whether forgetting it takes nothing away: all its SVIDs expired before this moment (Unix seconds), and it may attest again.
    pub fn is_forgettable(&self, expired_before: u64) -> bool {
        let may_attest = match &self.standing {
            Standing::Active { .. } | Standing::CutOff { .. } => true,
            Standing::Quarantined { .. } | Standing::Banned { .. } => false,
        };
        may_attest && self.expires_at() < expired_before
    }

    /// Whether an operator banned it.
    pub fn is_banned(&self) -> bool {
        matches!(self.standing, Standing::Banned { .. })
    }

    /// The SVID that it presents; `None` while none of its SVIDs is good.
    pub fn current_svid(&self) -> Option<&NodeSvid> {
        match &self.standing {
            Standing::Active { current, .. } => Some(current),
            Standing::CutOff { .. } | Standing::Quarantined { .. } | Standing::Banned { .. } => None,
        }
    }
}

/// Whether a node may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may, with one of these SVIDs.
    Active {
        /// The SVID that it last presented.
        current: NodeSvid,
        /// The SVID that it was last given and has not presented yet; from its first use on it is the current one.
        pending: Option<NodeSvid>,
    },
    /// Its last evidence was refused: no SVID of it is good until it is admitted again.
    CutOff {
        /// When its last SVID expires, Unix seconds.
        not_after: u64,
        /// The check that failed, in words.
        reason: String,
    },
    /// Its evidence contradicted what was known of its TPM: no SVID of it is good, and it is not admitted again before an operator
    /// evicts it.
    Quarantined {
        /// When its last SVID expires, Unix seconds.
        not_after: u64,
        /// What was seen.
        reason: String,
    },
    /// An operator banned it: no SVID of it is good, and it is not admitted again before it is evicted.
    Banned {
        /// When its last SVID expires, Unix seconds.
        not_after: u64,
    },
}

/// An SVID of a node, as much as is needed to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSvid {
    /// Its serial number.
    pub serial: SerialNumber,
    /// Unix seconds, inclusive.
    pub not_after: u64,
}

/// A node to be admitted, in one transaction.
#[derive(Clone, Debug)]
pub struct AdmissionRecord {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// The attestor that admits it.
    pub attestation_type: String,
    /// The SVID that was signed for it and that it gets only if this transaction commits.
    pub svid: NodeSvid,
    /// Whether it renews by attesting again.
    pub can_reattest: bool,
    /// What attestation found out; sorted, no duplicates.
    pub selectors: Vec<Selector>,
    /// What the TPM attestor enrols.
    pub tpm: Option<TpmAdmission>,
    /// The approval that is used up, or nothing is admitted.
    pub needs_approval: Option<NeedsApproval>,
    /// The join token that is spent, or nothing is admitted.
    pub token: Option<TokenHash>,
    /// Now, Unix seconds.
    pub now: i64,
}

/// A TPM to be enrolled, or enrolled anew.
#[derive(Clone, Debug)]
pub struct TpmAdmission {
    /// The record to keep.
    pub enrolled: Arc<EnrolledTpm>,
    /// The record that the evidence was judged against; `None` where the node was not known.
    pub judged_against: Option<Arc<EnrolledTpm>>,
    /// The event log that the record names by its hash, to be kept.
    pub event_log: Option<SentLog>,
}

/// How a node is cut off by its own evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutOff {
    /// Until it is admitted again.
    UntilAdmitted,
    /// Until an operator evicts it.
    UntilEvicted,
}

/// Keeps nodes. Whatever a node does, a ban that committed before it wins.
#[async_trait::async_trait]
pub trait NodeStore: Send + Sync {
    /// Spends the token, writes its alias entry, and writes the node with its selectors and the event log of its record: all or
    /// nothing. A log is kept once, however many nodes have it, and dropped with the last record that names it.
    ///
    /// Checks, in order: the token exists, is unspent and has not expired; the node is neither banned nor quarantined; its stored
    /// record is of the same attestor, names the same EK, and is the one that the evidence was judged against; no other node has
    /// the AK; a person approved, where that is needed.
    ///
    /// A node that is active with an SVID still valid at `now` keeps it as the current one, and the new one is pending until its
    /// first use. Everyone else starts with the new one.
    async fn admit(&self, record: AdmissionRecord) -> Result<Committed<Arc<Node>>, AdmitError>;

    /// Makes `svid` the pending SVID of an active node that is still at serial number `presented`.
    async fn renew(
        &self,
        id: SpiffeId,
        presented: SerialNumber,
        svid: NodeSvid,
    ) -> Result<Committed<Arc<Node>>, NodeError>;

    /// Makes the pending SVID with this serial number the current one. Nothing changes where it already is.
    async fn promote(&self, id: SpiffeId, serial: SerialNumber) -> Result<Committed<Arc<Node>>, NodeError>;

    /// Records the version that the agent says it has.
    async fn set_agent_version(&self, id: SpiffeId, version: String) -> Result<Committed<Arc<Node>>, NodeError>;

    /// Cuts a node off because its evidence was refused. A ban or quarantine that is there already stays.
    async fn cut_off(&self, id: SpiffeId, until: CutOff, reason: String) -> Result<Committed<Arc<Node>>, NodeError>;

    /// Bans a node. Nothing changes where it already is banned.
    async fn ban(&self, id: SpiffeId) -> Result<Committed<Arc<Node>>, NodeError>;

    /// The event log of `len` bytes with this SHA-256, where a node's record names it.
    async fn event_log(&self, sha256: [u8; 32], len: u32) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets a node, so that it may attest again.
    async fn evict(&self, id: SpiffeId) -> Result<Committed<()>, NodeError>;

    /// Forgets those of these nodes that are [forgettable](Node::is_forgettable) still, and returns them.
    async fn prune_nodes(
        &self,
        ids: Vec<SpiffeId>,
        expired_before: u64,
    ) -> Result<Committed<Vec<SpiffeId>>, StoreError>;
}

/// Why a node is not admitted by the transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// No such token, or it has expired, or another node spent it.
    #[error("join token does not exist or has already been used")]
    TokenUnknown,
    /// The node is banned.
    #[error("agent is banned")]
    Banned,
    /// The node is in quarantine.
    #[error("agent is in quarantine: {reason}")]
    Quarantined {
        /// What was seen.
        reason: String,
    },
    /// The node's record names another EK.
    #[error("node {id} is enrolled with EK public area {enrolled}, not {presented}")]
    OtherEk {
        /// The node.
        id: SpiffeId,
        /// TPMT_PUBLIC in the store, hex.
        enrolled: String,
        /// TPMT_PUBLIC of this attestation, hex.
        presented: String,
    },
    /// Another conversation of the node was faster; this one was judged against a record that is no longer the node's.
    #[error("node {id} was admitted or evicted while it attested; it has to attest again")]
    JudgedAgainstOther {
        /// The node.
        id: SpiffeId,
    },
    /// The AK belongs to another node.
    #[error("the AK of node {id} is enrolled for node {owner}")]
    AkOfOtherNode {
        /// The node that attests.
        id: SpiffeId,
        /// The node whose AK it is.
        owner: SpiffeId,
    },
    /// The node's record was made by another attestor.
    #[error("node {id} was admitted by attestor {enrolled:?}, not {presented:?}")]
    OtherAttestor {
        /// The node.
        id: SpiffeId,
        /// Attestor in the store.
        enrolled: String,
        /// Attestor of this attestation.
        presented: String,
    },
    /// A person has to approve first, and has not, or the approval was used up meanwhile.
    #[error("{asks_for} {id} is pending: an operator has to approve it (plastron-server tpm pending approve)")]
    Pending {
        /// The node.
        id: SpiffeId,
        /// What it asks for.
        asks_for: NeedsApproval,
    },
    /// A person decided that it stays out.
    #[error("{asks_for} {id} was rejected by {by}: {reason:?}")]
    Rejected {
        /// The node.
        id: SpiffeId,
        /// What it asks for.
        asks_for: NeedsApproval,
        /// Who decided.
        by: String,
        /// Why.
        reason: String,
    },
    /// Too many wait already; those that do go on waiting.
    #[error(
        "{limit} TPMs of {what} {of:?} wait for an operator already; decide on some (plastron-server tpm pending list)"
    )]
    TooManyPending {
        /// `pool` or `source`.
        what: &'static str,
        /// Which.
        of: String,
        /// How many may wait.
        limit: u32,
    },
    /// The store failed.
    #[error("the admission can't be stored")]
    Store(#[from] StoreError),
}

/// Why a node is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No such node.
    #[error("agent {id} not found")]
    NotFound {
        /// Its SPIFFE ID.
        id: SpiffeId,
    },
    /// The node is banned.
    #[error("agent {id} is banned")]
    Banned {
        /// Its SPIFFE ID.
        id: SpiffeId,
    },
    /// The node has another SVID by now.
    #[error("agent {id} has another SVID than the one that it presented")]
    SerialMoved {
        /// Its SPIFFE ID.
        id: SpiffeId,
    },
    /// The store failed.
    #[error("the node can't be stored")]
    Store(#[from] StoreError),
}
