//! Changes: what the change log says, and what follows it.

use std::sync::Arc;

use plastron_spiffe::{Bundle, FederationRelationship, RegistrationEntry, SpiffeId, TrustDomain};

use super::{JournalEntry, Node, ServerId, SlotName};

/// One row of the change log with the value that it brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Position in the log, from 1, without gaps.
    pub sequence: u64,
    /// What changed.
    pub event: Event,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry was created or updated.
    Entry(Arc<RegistrationEntry>),
    /// An entry was deleted.
    EntryDeleted {
        /// Its identifier.
        id: String,
    },
    /// A node was admitted, renewed, promoted or banned.
    Node(Arc<Node>),
    /// A node was evicted.
    NodeDeleted {
        /// Its SPIFFE ID.
        id: SpiffeId,
    },
    /// A join token was made. Tokens are not kept in memory.
    JoinTokenCreated,
    /// A join token was spent, or pruned after it had expired.
    JoinTokenDeleted,
    /// A TPM began to wait for a person, was decided on, or used its approval up. They are not kept in memory.
    PendingTpm {
        /// The SPIFFE ID that it would have.
        id: SpiffeId,
    },
    /// The trust domain's bundle has new content.
    Bundle(Arc<Bundle>),
    /// The bundle of a foreign trust domain is there, or has new content.
    FederatedBundle(Arc<Bundle>),
    /// The bundle of a foreign trust domain was deleted.
    FederatedBundleDeleted {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// A federation relationship was created or changed.
    Relationship(Arc<FederationRelationship>),
    /// A federation relationship was deleted.
    RelationshipDeleted {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// A CA slot changed.
    Journal(Arc<JournalEntry>),
    /// The slot of a server that is gone for good was removed.
    JournalDeleted {
        /// Whose it was.
        server: ServerId,
        /// The slot.
        slot: SlotName,
    },
}

/// A committed operation: its result and its rows in the change log.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// What the caller asked for.
    pub value: T,
    /// In the order of their sequence numbers; empty where nothing changed.
    pub changes: Vec<Change>,
}

/// The whole state at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sequence number of the last change in it; 0 for an empty store.
    pub revision: u64,
    /// All entries.
    pub entries: Vec<RegistrationEntry>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The trust domain's own bundle; `None` before the first authority.
    pub bundle: Option<Bundle>,
    /// The bundles of foreign trust domains.
    pub federated_bundles: Vec<Bundle>,
    /// How bundles of foreign trust domains are fetched.
    pub relationships: Vec<FederationRelationship>,
    /// The CA slots of all servers.
    pub journal: Vec<JournalEntry>,
}
