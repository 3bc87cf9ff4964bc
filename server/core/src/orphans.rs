//! Keys that the key manager holds and no journal refers to: a server was killed between making a key and journalling it, or its data
//! store was lost. Nothing destroys them by itself; a person does, one by one (`hsm gc`).
//!
//! A key is made before its journal entry is written, so "no journal has it" is not enough. While keys are looked at, this process makes
//! none; those that it made and has not journalled yet are left alone; and so is whatever is younger than [`GRACE`], because another
//! process may use the same token under the same instance. Keys are listed before journals are read, and the change log is followed in
//! between, so that a key which was journalled meanwhile is found there.

use std::sync::Arc;
use std::time::Duration;

use plastron_hsm::{KeyId, KeyRecord, KeyStoreError};

use crate::audit::{self, AuditLog, AuditSinkError};
use crate::authority::spki_sha256;
use crate::authorization::{Permit, rpc};
use crate::ca::{CaKeys, KeysAtRest};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::store::{JournalEntry, ServerId, SlotName, StoreError};

/// Younger keys may be about to be journalled by another process: longer than a key store and a data store take together at their worst.
pub const GRACE: Duration = Duration::from_secs(600);
/// How long it is waited for a key that is being made: an RSA-4096 key takes a slow token so long.
const MAKING_LIMIT: Duration = Duration::from_secs(30);
/// Keys destroyed in one call.
pub const MAX_DESTROYED: usize = 64;

/// Lists and destroys keys that no journal refers to.
pub struct OrphanKeys {
    keys: CaKeys,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
}

/// A key that no journal refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreferencedKey {
    /// The key.
    pub record: KeyRecord,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// When it was made, Unix seconds, where the store knows.
    pub made_at: Option<u64>,
    /// Whether it may be destroyed.
    pub state: UnreferencedState,
}

impl UnreferencedKey {
    /// The hash, lower-case hex.
    pub fn spki_sha256_hex(&self) -> String {
        hex::encode(self.spki_sha256)
    }
}

/// What is known of a key that no journal refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreferencedState {
    /// Nobody needs it.
    Orphan,
    /// It was made less than [`GRACE`] ago, or in the future by this clock.
    Recent,
    /// This process made it, and may be about to journal it.
    InTheMaking,
}

impl UnreferencedState {
    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Recent => "recent",
            Self::InTheMaking => "in the making",
        }
    }
}

impl OrphanKeys {
    pub(crate) fn new(keys: CaKeys, ledger: Arc<Ledger>, clock: Arc<dyn Clock>, audit: Arc<AuditLog>) -> Self {
        Self { keys, ledger, clock, audit }
    }

    /// All of them, the oldest first.
    pub async fn list(&self, _permit: Permit<rpc::ListUnreferencedKeys>) -> Result<Vec<UnreferencedKey>, OrphanError> {
        let at_rest = self.at_rest().await?;
        let mut found = Vec::new();
        for (record, journal) in self.compare(&at_rest).await? {
            if journal.is_none() {
                found.push(self.judge(&at_rest, record).await?);
            }
        }
        found.sort_by_key(|key| (key.made_at, key.record.id.clone()));
        Ok(found)
    }

    /// Destroys each of these that is an orphan. Each is announced in the audit log before it is destroyed; where that fails, it is not.
    pub async fn destroy(
        &self,
        permit: Permit<rpc::DestroyUnreferencedKeys>,
        ids: &[KeyId],
    ) -> Result<Vec<Result<UnreferencedKey, DestroyRefusal>>, OrphanError> {
        if ids.len() > MAX_DESTROYED {
            return Err(OrphanError::TooMany { asked: ids.len() });
        }
        let at_rest = self.at_rest().await?;
        let held = self.compare(&at_rest).await?;
        let mut outcomes = Vec::new();
        for id in ids {
            outcomes.push(self.destroy_one(permit.identity(), &at_rest, &held, id).await);
        }
        Ok(outcomes)
    }

    async fn destroy_one(
        &self,
        actor: &str,
        at_rest: &KeysAtRest<'_>,
        held: &[(KeyRecord, Option<Arc<JournalEntry>>)],
        id: &KeyId,
    ) -> Result<UnreferencedKey, DestroyRefusal> {
        const ACTION: &str = "unreferenced key destroy";
        let result = self.permitted(at_rest, held, id).await;
        let key = match result {
            Ok(key) => key,
            Err(refusal) => {
                audit::change(actor, ACTION, &id.to_string(), &refusal.to_string());
                return Err(refusal);
            }
        };
        let (identity, hash) = (at_rest.inventory.identity(), key.spki_sha256_hex());
        let KeyRecord { id, label, key_type, public_key: _ } = &key.record;
        let subject =
            format!("key {id} {} {label} (SHA-256 {hash}) in {} {}", key_type.as_str(), identity.kind, identity.name);
        let _announced = self.audit.announce(actor, ACTION, &subject).await?;
        let result = at_rest.inventory.destroy(id).await.map_err(DestroyRefusal::KeyStore);
        audit::change(actor, ACTION, &subject, &audit::outcome(&result));
        result.map(|()| key)
    }

    /// Checks, in order: the store has the key; no journal refers to it; it is an orphan by age and origin.
    async fn permitted(
        &self,
        at_rest: &KeysAtRest<'_>,
        held: &[(KeyRecord, Option<Arc<JournalEntry>>)],
        id: &KeyId,
    ) -> Result<UnreferencedKey, DestroyRefusal> {
        let found = held.iter().find(|(record, _)| record.id == *id);
        let (record, journal) = found.ok_or_else(|| DestroyRefusal::NoSuchKey { id: id.clone() })?;
        if let Some(entry) = journal {
            return Err(DestroyRefusal::Referenced { id: id.clone(), server: entry.server, slot: entry.slot });
        }
        let key = self.judge(at_rest, record.clone()).await.map_err(DestroyRefusal::KeyStore)?;
        match key.state {
            UnreferencedState::Orphan => Ok(key),
            UnreferencedState::Recent => Err(DestroyRefusal::Recent { id: id.clone() }),
            UnreferencedState::InTheMaking => Err(DestroyRefusal::InTheMaking { id: id.clone() }),
        }
    }

    async fn at_rest(&self) -> Result<KeysAtRest<'_>, OrphanError> {
        let at_rest = tokio::time::timeout(MAKING_LIMIT, self.keys.at_rest()).await;
        at_rest.map_err(|_elapsed| OrphanError::Making)?.ok_or(OrphanError::CannotForget)
    }

    /// Every key with the journal entry that refers to it, of whichever server: by its identifier or by its public key.
    async fn compare(
        &self,
        at_rest: &KeysAtRest<'_>,
    ) -> Result<Vec<(KeyRecord, Option<Arc<JournalEntry>>)>, OrphanError> {
        let held = at_rest.inventory.list().await?;
        self.ledger.catch_up().await?;
        let journals = self.ledger.state().journals();
        let with_journal = |record: KeyRecord| {
            let hash = spki_sha256(&record.public_key);
            let journal = journals.iter().find(|entry| entry.key_id == record.id || entry.spki_sha256 == hash);
            if journal.is_some() {
                at_rest.journalled(&record.id);
            }
            (record, journal.cloned())
        };
        Ok(held.into_iter().map(with_journal).collect())
    }

    async fn judge(&self, at_rest: &KeysAtRest<'_>, record: KeyRecord) -> Result<UnreferencedKey, KeyStoreError> {
        let made_at = at_rest.inventory.made_at(&record.id).await?;
        let now = self.clock.now().as_secs();
        let is_young = |made_at: u64| now < made_at.saturating_add(GRACE.as_secs());
        let state = if at_rest.is_ours(&record.id) {
            UnreferencedState::InTheMaking
        } else if made_at.is_some_and(is_young) {
            UnreferencedState::Recent
        } else {
            UnreferencedState::Orphan
        };
        Ok(UnreferencedKey { spki_sha256: spki_sha256(&record.public_key), record, made_at, state })
    }
}

/// Why keys can't be compared with journals.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// The key manager can't list and destroy keys.
    #[error("this key manager can't list and destroy keys")]
    CannotForget,
    /// A key is being made.
    #[error("a key is being made, for longer than {} s", MAKING_LIMIT.as_secs())]
    Making,
    /// Too many at a time.
    #[error("{asked} keys at a time, more than {MAX_DESTROYED}")]
    TooMany {
        /// How many.
        asked: usize,
    },
    /// The key store did not answer.
    #[error("the key manager can't be asked")]
    KeyStore(#[from] KeyStoreError),
    /// The journals can't be read.
    #[error("the journals can't be read")]
    Store(#[from] StoreError),
}

/// Why a key was not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum DestroyRefusal {
    /// There is none.
    #[error("this server's key manager has no key {id}")]
    NoSuchKey {
        /// What was looked for.
        id: KeyId,
    },
    /// A journal refers to it.
    #[error("key {id} is in use: server {server} has it in slot {slot}")]
    Referenced {
        /// The key.
        id: KeyId,
        /// Whose journal.
        server: ServerId,
        /// The slot.
        slot: SlotName,
    },
    /// It was made just before.
    #[error("key {id} was made less than {} s ago: a server may be about to use it", GRACE.as_secs())]
    Recent {
        /// The key.
        id: KeyId,
    },
    /// This process made it.
    #[error("key {id} was made by this server since it started, and may be about to be used")]
    InTheMaking {
        /// The key.
        id: KeyId,
    },
    /// It would go unrecorded.
    #[error("no key is destroyed unrecorded")]
    Audit(#[from] AuditSinkError),
    /// The key store did not do it.
    #[error("the key manager did not destroy it")]
    KeyStore(#[source] KeyStoreError),
}
