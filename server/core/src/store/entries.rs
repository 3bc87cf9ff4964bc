//! Registration entries in the store.

use std::sync::Arc;

use plastron_spiffe::{RegistrationEntry, TrustDomain};

use super::{Committed, StoreError};

/// Keeps registration entries. One call is one transaction, whatever becomes of its items.
#[async_trait::async_trait]
pub trait EntryStore: Send + Sync {
    /// Inserts entries whose identifiers are set, each unless it exists or a trust domain that it federates with has no bundle; results are in the order of `entries`.
    async fn create_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError>;

    /// Replaces entries. Each carries the revision number that it replaces and comes back with the next one.
    async fn update_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError>;

    /// Deletes entries; `Err(NotFound)` for those that did not exist.
    async fn delete_entries(&self, ids: Vec<String>) -> Result<Committed<Vec<Result<(), EntryConflict>>>, StoreError>;

    /// Deletes those of these entries that expire, and did so at `moment` (Unix seconds) at the latest, as they are when the
    /// transaction sees them: one that was extended meanwhile stays. Says which.
    async fn prune_entries(&self, ids: Vec<String>, moment: i64) -> Result<Committed<Vec<String>>, StoreError>;
}

/// Why the store did not do what was asked with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryConflict {
    /// Another entry has this SPIFFE ID, parent and selectors.
    Exists(Arc<RegistrationEntry>),
    /// Another entry has this identifier.
    IdTaken {
        /// The identifier.
        id: String,
    },
    /// No entry has this identifier.
    NotFound {
        /// The identifier.
        id: String,
    },
    /// The store has no bundle of a trust domain that the entry federates with.
    NoBundle {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// The entry has another revision than the one to be replaced.
    Moved {
        /// The identifier.
        id: String,
    },
}
