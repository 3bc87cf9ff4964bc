//! Slots, the bundle and the servers: what is one transaction, what is refused, and what an older schema becomes.

use plastron_server_core::store::{
    AuthorityChangeError, AuthoritySet, AuthorityStore as _, Change, Event, ServerId, ServerRecord, ServerStore as _,
    SlotName, SlotStatus, Store as _,
};
use plastron_spiffe::{TrustDomain, X509Authority};

use crate::fixture::Place;
use crate::log::{SERVER, slot};

const OTHER: ServerId = ServerId::from_random([8; 16]);

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn x509(certificates: &[&[u8]]) -> AuthoritySet {
    AuthoritySet { x509: certificates.iter().map(|der| der.to_vec()).collect(), jwt: Vec::new() }
}

fn jwt(key_id: &str) -> AuthoritySet {
    AuthoritySet { x509: Vec::new(), jwt: vec![key_id.to_owned()] }
}

#[tokio::test]
async fn authorities_are_dropped_unless_a_slot_has_them_or_none_would_be_left() {
    let place = Place::new();
    let store = place.open().await;
    let old = || X509Authority { certificate: b"old".to_vec(), tainted: false };
    store.append_authorities(trust_domain(), vec![old()], Vec::new()).await.unwrap();
    let last = store.drop_authorities(x509(&[b"old"])).await.unwrap();
    assert_eq!((last.value, last.changes.len()), (0, 0), "the last one stays");
    store.prepare_authority(trust_domain(), slot(SlotName::JwtSignerA), vec![]).await.unwrap();
    let prepared = store.prepare_authority(trust_domain(), slot(SlotName::X509CaA), vec![]).await.unwrap().value;
    assert_eq!((prepared.x509_authorities.len(), prepared.jwt_authorities.len()), (2, 1));
    let in_slot = slot(SlotName::X509CaA).ca().unwrap().certificate.clone();
    let mut all = x509(&[b"old", &in_slot, b"unknown"]);
    all.jwt = vec![SlotName::JwtSignerA.as_str().to_owned()];
    let dropped = store.drop_authorities(all).await.unwrap();
    assert_eq!(dropped.value, 1);
    let [Change { event: Event::Bundle(bundle), .. }] = dropped.changes.as_slice() else { unreachable!("one change") };
    assert_eq!(bundle.sequence_number, prepared.sequence_number + 1);
    assert_eq!(bundle.x509_authorities.iter().map(|left| &left.certificate).collect::<Vec<_>>(), [&in_slot]);
    assert_eq!(bundle.jwt_authorities.len(), 1);
    assert_eq!(store.load().await.unwrap().bundle.as_ref(), Some(bundle.as_ref()));
}

/// Two servers have slots of the same name, and neither moves the other's.
#[tokio::test]
async fn slots_belong_to_one_server_and_one_kind() {
    let place = Place::new();
    let store = place.open().await;
    let mut foreign = slot(SlotName::X509CaA);
    foreign.server = OTHER;
    for entry in [slot(SlotName::X509CaA), slot(SlotName::JwtSignerA), slot(SlotName::X509CaB), foreign] {
        store.prepare_authority(trust_domain(), entry, vec![]).await.unwrap();
    }
    for (server, name) in [
        (SERVER, SlotName::X509CaA),
        (SERVER, SlotName::JwtSignerA),
        (OTHER, SlotName::X509CaA),
        (SERVER, SlotName::X509CaB),
    ] {
        store.activate_authority(server, name).await.unwrap();
    }
    let journal = store.load().await.unwrap().journal;
    let status =
        |server, name| journal.iter().find(|entry| (entry.server, entry.slot) == (server, name)).unwrap().status;
    assert_eq!(journal.len(), 4);
    assert_eq!(status(SERVER, SlotName::X509CaA), SlotStatus::Old);
    assert_eq!(status(SERVER, SlotName::X509CaB), SlotStatus::Active);
    assert_eq!(status(SERVER, SlotName::JwtSignerA), SlotStatus::Active);
    assert_eq!(status(OTHER, SlotName::X509CaA), SlotStatus::Active);
}

/// Whoever repeats a step, because it did not hear of its end, changes nothing.
#[tokio::test]
async fn a_step_that_was_done_is_not_done_again() {
    let place = Place::new();
    let store = place.open().await;
    for name in [SlotName::X509CaA, SlotName::JwtSignerB] {
        assert_eq!(store.prepare_authority(trust_domain(), slot(name), vec![]).await.unwrap().changes.len(), 2);
        assert!(store.prepare_authority(trust_domain(), slot(name), vec![]).await.unwrap().changes.is_empty());
        assert_eq!(store.activate_authority(SERVER, name).await.unwrap().changes.len(), 1);
        assert!(store.activate_authority(SERVER, name).await.unwrap().changes.is_empty());
    }
}

#[tokio::test]
async fn an_authority_is_tainted_once_and_revoked_only_then() {
    let place = Place::new();
    let store = place.open().await;
    for name in [SlotName::X509CaA, SlotName::X509CaB, SlotName::JwtSignerA] {
        store.prepare_authority(trust_domain(), slot(name), vec![]).await.unwrap();
    }
    let certificate = slot(SlotName::X509CaA).ca().unwrap().certificate.clone();
    for set in [x509(&[&certificate]), jwt(SlotName::JwtSignerA.as_str())] {
        assert_eq!(store.revoke_authorities(set.clone()).await.err(), Some(AuthorityChangeError::NotTainted));
        assert_eq!(store.taint_authorities(set.clone()).await.unwrap().changes.len(), 1);
        assert_eq!(store.taint_authorities(set.clone()).await.err(), Some(AuthorityChangeError::AlreadyTainted));
    }
    let bundle = store.load().await.unwrap().bundle.unwrap();
    assert_eq!(bundle.x509_authorities.iter().map(|it| it.tainted).collect::<Vec<_>>(), [true, false]);
    assert!(bundle.jwt_authorities.iter().all(|it| it.tainted));
    for set in [x509(&[&certificate]), jwt(SlotName::JwtSignerA.as_str())] {
        assert_eq!(store.revoke_authorities(set.clone()).await.unwrap().changes.len(), 1);
        assert_eq!(store.revoke_authorities(set.clone()).await.err(), Some(AuthorityChangeError::NotFound));
        assert_eq!(store.taint_authorities(set).await.err(), Some(AuthorityChangeError::NotFound));
    }
    assert_eq!(store.taint_authorities(AuthoritySet::default()).await.err(), Some(AuthorityChangeError::NotFound));
    let revoked = store.load().await.unwrap().bundle.unwrap();
    assert_eq!(revoked.sequence_number, bundle.sequence_number + 2);
    assert_eq!((revoked.x509_authorities.len(), revoked.jwt_authorities.len()), (1, 0));
}

#[tokio::test]
async fn servers_come_and_go_and_a_journal_stays_as_long_as_it_may_be_needed() {
    let place = Place::new();
    let store = place.open().await;
    let mut foreign = slot(SlotName::X509CaA);
    (foreign.server, foreign.not_after) = (OTHER, 500);
    store.prepare_authority(trust_domain(), foreign, vec![]).await.unwrap();
    store.prepare_authority(trust_domain(), slot(SlotName::X509CaA), vec![]).await.unwrap();
    let record = |id, seen_at| ServerRecord { id, seen_at, revision: 4 };
    store.see_server(record(SERVER, 10)).await.unwrap();
    store.see_server(record(SERVER, 20)).await.unwrap();
    store.see_server(record(OTHER, 15)).await.unwrap();
    assert_eq!(store.servers().await.unwrap(), [record(SERVER, 20), record(OTHER, 15)]);
    assert_eq!(store.prune_servers(18).await.unwrap().value, 0, "its CA lasts until 500");
    assert_eq!(store.servers().await.unwrap(), [record(SERVER, 20)]);
    store.see_server(record(SERVER, 1000)).await.unwrap();
    let pruned = store.prune_servers(501).await.unwrap();
    let gone = Event::JournalDeleted { server: OTHER, slot: SlotName::X509CaA };
    assert_eq!(pruned.changes.iter().map(|change| &change.event).collect::<Vec<_>>(), [&gone]);
    assert_eq!(store.changes_after(pruned.changes.first().unwrap().sequence - 1).await.unwrap(), pruned.changes);
    assert_eq!(store.load().await.unwrap().journal.len(), 1);
    store.remove_server(SERVER).await.unwrap();
    assert!(store.servers().await.unwrap().is_empty());
    assert_eq!(store.load().await.unwrap().journal.len(), 1, "whose journal stays");
}

/// A database of the time when it had one server: its slots are that server's, and its change log can be followed.
#[tokio::test]
async fn the_slots_of_an_older_schema_are_taken_over() {
    let place = Place::new();
    place.open().await.close().await;
    place
        .tamper(
            "DELETE FROM migrations WHERE version > 3; DROP TABLE ca_journal; DROP TABLE servers; DROP TABLE federation_relationships; \
             DROP TABLE jwt_publishers; \
             CREATE TABLE ca_slots (slot VARCHAR(32) NOT NULL PRIMARY KEY, key_id BLOB NOT NULL, spki_sha256 BLOB NOT NULL, \
             certificate BLOB NOT NULL, not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, status SMALLINT NOT NULL); \
             INSERT INTO ca_slots VALUES ('x509-CA-B', x'0102', \
             x'0909090909090909090909090909090909090909090909090909090909090909', x'beef', 5, 6, 3); \
             INSERT INTO change_log VALUES (1, 0, 'ca_slot', 'x509-CA-B'); \
             UPDATE change_log_head SET last_sequence = 1",
        )
        .await;
    let store = place.open().await;
    let journal = store.load().await.unwrap().journal;
    let [entry] = journal.as_slice() else { unreachable!("one slot") };
    assert_eq!((entry.server, entry.slot, entry.status), (ServerId::FIRST, SlotName::X509CaB, SlotStatus::Active));
    assert_eq!((entry.not_before, entry.not_after, &entry.spki_sha256), (5, 6, &[9; 32]));
    assert_eq!(entry.ca().unwrap().certificate, [0xbe, 0xef]);
    let followed = store.changes_after(0).await.unwrap();
    assert!(matches!(followed.as_slice(), [Change { event: Event::Journal(told), .. }] if **told == *entry));
}
