//! Which server this is: the one whose journal names keys that the key store holds.
//!
//! There is no file to copy or lose: whoever has the keys has the slots. A server whose key store is new is a new server, and what the
//! old one published stays trusted until it expires.

use plastron_hsm::{KeyStore, StoreIdentity};

use super::{CaError, random};
use crate::audit;
use crate::authority::AuthorityError;
use crate::ledger::Ledger;
use crate::store::{JournalEntry, ServerId, SlotKind, SlotStatus};

/// The server whose keys these are, or a new one. Where a key store has keys of several journals, the one with an active slot counts.
pub(super) async fn find_or_make(ledger: &Ledger, keys: &dyn KeyStore) -> Result<ServerId, CaError> {
    let mut found = None;
    for entry in ledger.state().journals() {
        let in_store = keys.find(&entry.key_id).await;
        let held = in_store.map_err(|source| AuthorityError::KeyStore { slot: entry.slot, source })?;
        if held.is_none() {
            continue;
        }
        if entry.status == SlotStatus::Active {
            return Ok(entry.server);
        }
        found.get_or_insert(entry.server);
    }
    if let Some(server) = found {
        return Ok(server);
    }
    for entry in ledger.state().journals().iter().filter(|entry| entry.status == SlotStatus::Active) {
        lose(entry, keys, "not in this key store: another server has it, or it is lost");
    }
    let server = ServerId::from_random(random().map_err(|reason| CaError::Random { reason })?);
    tracing::info!(%server, "The key store has no key of a journal: this is a new server");
    Ok(server)
}

/// Tells the auditor which authority this server does not go on with.
pub(super) fn lose(entry: &JournalEntry, keys: &dyn KeyStore, reason: &str) {
    let JournalEntry { server, slot, key_id, spki_sha256, .. } = entry;
    let StoreIdentity { kind, name, .. } = keys.identity();
    let key = hex::encode(spki_sha256);
    let subject = format!("server {server} slot {slot} key {key_id} (SHA-256 {key}) in {kind} {name}");
    let action = match slot.kind() {
        SlotKind::X509 => "x509 authority lose",
        SlotKind::Jwt => "jwt authority lose",
    };
    audit::change("server", action, &subject, reason);
}
