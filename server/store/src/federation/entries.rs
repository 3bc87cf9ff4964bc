//! Entries and the foreign trust domains that they federate with: each has a bundle here.

use std::collections::HashSet;

use plastron_server_core::store::{EntryConflict, StoreError};
use plastron_spiffe::{RegistrationEntry, TrustDomain};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::write::Write;

/// The trust domains that have a bundle, the servers' own among them.
pub(crate) struct WithBundle(HashSet<String>);

impl WithBundle {
    /// Reads them where one of these entries federates at all.
    pub(crate) async fn look_up<'e>(
        write: &mut Write<'_>,
        entries: impl IntoIterator<Item = &'e RegistrationEntry>,
    ) -> Result<Self, StoreError> {
        const PURPOSE: Purpose = Purpose("read which trust domains have a bundle");
        if entries.into_iter().all(|entry| entry.federates_with.is_empty()) {
            return Ok(Self(HashSet::new()));
        }
        let store = write.store;
        store.count_read();
        let names = sqlx::query_scalar("SELECT trust_domain FROM bundles").fetch_all(write.connection()).await;
        let names: Vec<String> = names.map_err(|error| store.failed(PURPOSE, &error))?;
        Ok(Self(names.into_iter().collect()))
    }

    /// The first trust domain of the entry that has none.
    pub(crate) fn conflict(&self, entry: &RegistrationEntry) -> Option<EntryConflict> {
        let missing = entry.federates_with.iter().find(|trust_domain| !self.0.contains(trust_domain.as_str()))?;
        Some(EntryConflict::NoBundle { trust_domain: missing.clone() })
    }
}

impl SqliteStore {
    /// The entries that federate with a trust domain.
    pub(super) async fn entries_federated_with(
        &self,
        connection: &mut SqliteConnection,
        trust_domain: &TrustDomain,
    ) -> Result<Vec<RegistrationEntry>, StoreError> {
        // `_` stands for any character in LIKE, and a name may have one: what is found too much goes here.
        let mut entries = self.entries_like(connection, &format!("%\"{trust_domain}\"%")).await?;
        entries.retain(|entry| entry.federates_with.contains(trust_domain));
        Ok(entries)
    }
}
