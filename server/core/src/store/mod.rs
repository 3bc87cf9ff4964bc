//! The `Store` seam: what the services need kept, and which changes are one transaction.
//!
//! Every change of state is one row in one totally ordered change log, written in the transaction that makes the change; each
//! operation hands back what it committed, with its sequence numbers. Implemented by `server/store`.

mod authorities;
mod change;
mod entries;
mod error;
mod federation;
mod journal;
mod nodes;
mod pending;
mod tokens;

pub use authorities::{
    AuthorityChangeError, AuthoritySet, AuthorityStore, PublishError, Published, ServerRecord, ServerStore,
};
pub use change::{Change, Committed, Event, Snapshot};
pub use entries::{EntryConflict, EntryStore};
pub use error::StoreError;
pub use federation::{
    DeleteMode, FederatedBundleError, FederatedBundlePatch, FederationStore, Order, RelationshipError,
    RelationshipPatch, RelationshipWithBundle,
};
pub use journal::{
    JournalAuthority, JournalCa, JournalEntry, JournalJwtKey, Publication, ServerId, SlotKind, SlotName, SlotStatus,
    subject_key_id,
};
pub use nodes::{AdmissionRecord, AdmitError, CutOff, Node, NodeError, NodeStore, NodeSvid, Standing, TpmAdmission};
pub use pending::{Decision, DecisionVerdict, NeedsApproval, PendingError, PendingStore, PendingTpm, WaitRecord};
pub use tokens::{JoinTokenRecord, TokenError, TokenHash, TokenStore};

/// Where the server's state outlives it.
#[async_trait::async_trait]
pub trait Store:
    EntryStore + NodeStore + PendingStore + TokenStore + AuthorityStore + FederationStore + ServerStore
{
    /// Everything that the services keep in memory, as of one moment.
    async fn load(&self) -> Result<Snapshot, StoreError>;

    /// The changes after a revision, in order, with the present value of whatever they touched. `LogTruncated` where the log no
    /// longer goes back that far.
    async fn changes_after(&self, revision: u64) -> Result<Vec<Change>, StoreError>;

    /// Drops the rows of the change log that were committed before this moment (Unix seconds), and says how many. State stays.
    async fn prune_change_log(&self, before: i64) -> Result<u64, StoreError>;

    /// How much the store was asked to do since it was opened.
    fn statistics(&self) -> StoreStatistics;
}

/// Counts since the store was opened. Tests assert with it that hot paths read nothing; the benchmark prints commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Statements that read.
    pub reads: u64,
    /// Transactions that committed a change.
    pub commits: u64,
}
