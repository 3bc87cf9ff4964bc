//! The change log: one row per change, in one order, without gaps.

use std::sync::Arc;

use plastron_hsm::KeyId;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::state::State;
use plastron_server_core::store::{
    AuthorityStore as _, Change, EntryConflict, EntryStore as _, Event, JoinTokenRecord, JournalAuthority, JournalCa,
    JournalEntry, JournalJwtKey, NodeStore as _, ServerId, SlotKind, SlotName, SlotStatus, Store as _, StoreError,
    TokenError, TokenHash, TokenStore as _,
};
use plastron_spiffe::TrustDomain;

use crate::fixture::{NOW, Place, attested, entry, id, svid, tpm};

pub(crate) const SERVER: ServerId = ServerId::from_random([7; 16]);

pub(crate) fn slot(slot: SlotName) -> JournalEntry {
    JournalEntry {
        server: SERVER,
        slot,
        key_id: KeyId::new([1, 2, 3]),
        spki_sha256: [9; 32],
        authority: match slot.kind() {
            SlotKind::X509 => JournalAuthority::X509(JournalCa {
                certificate: slot.as_str().as_bytes().to_vec(),
                intermediates: vec![vec![1, 2], vec![3]],
                upstream_authority_id: None,
            }),
            SlotKind::Jwt => {
                JournalAuthority::Jwt(JournalJwtKey { key_id: slot.as_str().to_owned(), public_key: vec![4, 5, 6] })
            }
        },
        not_before: 1,
        not_after: 2,
        status: SlotStatus::Prepared,
    }
}

#[tokio::test]
async fn every_change_is_one_row_and_the_log_tells_the_present() {
    let place = Place::new();
    let store = place.open().await;
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let mut told: Vec<Change> = Vec::new();
    told.extend(store.create_entries(vec![entry("a"), entry("b")]).await.unwrap().changes);
    let updated = store.update_entries(vec![entry("a")]).await.unwrap();
    told.extend(updated.changes);
    told.extend(store.delete_entries(vec!["b".to_owned(), "absent".to_owned()]).await.unwrap().changes);
    told.extend(store.prepare_authority(trust_domain.clone(), slot(SlotName::X509CaA), vec![]).await.unwrap().changes);
    told.extend(store.activate_authority(SERVER, SlotName::X509CaA).await.unwrap().changes);
    let token = JoinTokenRecord { hash: TokenHash::of("t"), expires_at: NOW + 60, alias: Some(id("/alias")) };
    told.extend(store.create_join_token(token.clone()).await.unwrap().changes);
    assert_eq!(store.create_join_token(token).await.err(), Some(TokenError::Exists));
    let mut joining = attested("/spire/agent/join_token/t", 1, &tpm(1, 1, 1), None);
    joining.token = Some(TokenHash::of("t"));
    let admitted = store.admit(joining).await.unwrap();
    assert_eq!(admitted.changes.len(), 3, "token, alias entry, node");
    told.extend(admitted.changes);
    let node = id("/spire/agent/join_token/t");
    let first = admitted.value.current_svid().unwrap().serial.clone();
    told.extend(store.renew(node.clone(), first, svid(2, 9)).await.unwrap().changes);
    told.extend(store.promote(node.clone(), svid(2, 9).serial).await.unwrap().changes);
    assert!(store.promote(node.clone(), svid(2, 9).serial).await.unwrap().changes.is_empty(), "nothing new");
    told.extend(store.ban(node.clone()).await.unwrap().changes);
    told.extend(store.evict(node).await.unwrap().changes);

    let sequences: Vec<u64> = told.iter().map(|change| change.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    let followed = place.open().await.changes_after(0).await.unwrap();
    assert_eq!(followed.iter().map(|change| change.sequence).collect::<Vec<_>>(), sequences);
    let snapshot = store.load().await.unwrap();
    assert_eq!(snapshot.revision, followed.last().unwrap().sequence);
    assert_eq!((snapshot.nodes.len(), snapshot.entries.len(), snapshot.journal.len()), (0, 2, 1));
    assert_eq!(snapshot.journal.first().unwrap().status, SlotStatus::Active);
    assert_eq!(snapshot.bundle.as_ref().unwrap().sequence_number, 1);
    let present = |event: &Event| match event {
        Event::Entry(entry) => snapshot.entries.contains(entry),
        Event::EntryDeleted { id } => snapshot.entries.iter().all(|entry| entry.id != *id),
        Event::Node(node) => snapshot.nodes.contains(node),
        Event::NodeDeleted { id } => snapshot.nodes.iter().all(|node| node.id != *id),
        Event::Bundle(bundle) => snapshot.bundle.as_ref() == Some(bundle),
        Event::FederatedBundle(bundle) => snapshot.federated_bundles.contains(bundle),
        Event::FederatedBundleDeleted { trust_domain } => {
            snapshot.federated_bundles.iter().all(|bundle| bundle.trust_domain != *trust_domain)
        }
        Event::Relationship(relationship) => snapshot.relationships.contains(relationship),
        Event::RelationshipDeleted { trust_domain } => {
            snapshot.relationships.iter().all(|relationship| relationship.trust_domain != *trust_domain)
        }
        Event::Journal(entry) => snapshot.journal.contains(entry),
        Event::JournalDeleted { server, slot } => {
            snapshot.journal.iter().all(|entry| (entry.server, entry.slot) != (*server, *slot))
        }
        Event::JoinTokenCreated | Event::JoinTokenDeleted | Event::PendingTpm { .. } => true,
    };
    assert!(followed.iter().all(|change| present(&change.event)));
}

#[tokio::test]
async fn an_update_needs_the_revision_that_it_replaces() {
    let store = Place::new();
    let store = store.open().await;
    store.create_entries(vec![entry("a"), entry("b")]).await.unwrap();
    let first = store.update_entries(vec![entry("a")]).await.unwrap().value.remove(0).unwrap();
    assert_eq!(first.revision_number, 1);
    let mut twin = entry("b");
    twin.spiffe_id = entry("a").spiffe_id;
    let again = store.update_entries(vec![entry("a"), entry("absent"), twin]).await.unwrap();
    assert!(again.changes.is_empty());
    let [moved, absent, exists] = again.value.as_slice() else { unreachable!("three results") };
    assert_eq!(moved, &Err(EntryConflict::Moved { id: "a".to_owned() }));
    assert_eq!(absent, &Err(EntryConflict::NotFound { id: "absent".to_owned() }));
    assert_eq!(exists, &Err(EntryConflict::Exists(first)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_file_write_one_order() {
    let place = Place::new();
    let stores = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = Arc::clone(stores.get(n % 2).unwrap());
        tasks.spawn(async move { store.create_entries(vec![entry(&format!("e{n}"))]).await.unwrap().changes });
    }
    let mut sequences: Vec<u64> = tasks.join_all().await.concat().iter().map(|change| change.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=60).collect::<Vec<u64>>());
    let [first, second] = &stores;
    let followed = State::new(first.load().await.unwrap());
    assert_eq!(followed.revision(), second.load().await.unwrap().revision);
    assert_eq!(second.changes_after(58).await.unwrap().len(), 2);
}

/// A large batch is a few statements and one commit.
#[tokio::test]
async fn a_batch_is_one_commit() {
    let store = Place::new();
    let store = store.open().await;
    let before = store.statistics();
    let many: Vec<_> = (0..2_500).map(|n| entry(&format!("e{n}"))).collect();
    let created = store.create_entries(many.clone()).await.unwrap();
    assert_eq!(created.changes.len(), 2_500);
    assert_eq!(store.statistics().commits - before.commits, 1);
    let again = store.create_entries(many).await.unwrap();
    assert!(again.changes.is_empty());
    assert!(again.value.iter().all(|result| matches!(result, Err(EntryConflict::Exists(_)))));
    assert_eq!(store.statistics().commits - before.commits, 1, "nothing changed, nothing committed");
}

/// Whoever was away for longer than the log is kept learns that, and reads everything anew.
#[tokio::test]
async fn a_pruned_log_is_not_followed_across_the_gap() {
    let place = Place::new();
    let store = place.open().await;
    let behind = Ledger::open(Arc::new(place.open().await)).await.unwrap();
    store.create_entries(vec![entry("a"), entry("b")]).await.unwrap();
    assert_eq!(store.prune_change_log(i64::MAX).await.unwrap(), 2);
    let truncated = store.changes_after(0).await.err().unwrap();
    assert!(matches!(truncated, StoreError::LogTruncated { after: 0, oldest: 3, .. }), "{truncated}");
    assert!(store.changes_after(2).await.unwrap().is_empty(), "whoever is up to date stays so");
    behind.catch_up().await.unwrap();
    assert_eq!(behind.state().revision(), 2);
    assert!(behind.state().entry("b").is_some());
    let next = store.create_entries(vec![entry("c")]).await.unwrap();
    assert_eq!(next.changes.first().unwrap().sequence, 3, "the order goes on");
    assert_eq!(store.changes_after(2).await.unwrap().len(), 1);
}

/// An entry whose life was extended after someone saw it expired is not deleted, nor one that never expires.
#[tokio::test]
async fn only_what_is_expired_in_the_transaction_is_pruned() {
    let place = Place::new();
    let store = place.open().await;
    let mut forever = entry("forever");
    forever.expires_at = 0;
    store.create_entries(vec![entry("a"), entry("extended"), forever]).await.unwrap();
    let mut extended = entry("extended");
    extended.expires_at = 100;
    store.update_entries(vec![extended]).await.unwrap();
    let ids: Vec<_> = ["a", "extended", "forever", "absent"].map(str::to_owned).into();
    let pruned = store.prune_entries(ids, 7).await.unwrap();
    assert_eq!(pruned.value, ["a"]);
    let events: Vec<_> = pruned.changes.into_iter().map(|change| change.event).collect();
    assert_eq!(events, [Event::EntryDeleted { id: "a".to_owned() }]);
    assert_eq!(store.load().await.unwrap().entries.len(), 2);
}
