//! Keys that no journal refers to: found, told from those that are about to be used, destroyed one by one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use plastron_hsm_soft::SoftStore;
use plastron_server_core::authorization::rpc;
use plastron_server_core::clock::Clock as _;
use plastron_server_core::orphans::{DestroyRefusal, GRACE, OrphanError, UnreferencedKey, UnreferencedState};
use plastron_server_core::store::SlotName;
use tokio::sync::RwLock;

use crate::faults::{FaultyStore, Step};
use crate::fixture::{CA_TTL, Disk, Server, TestClock, local};

/// Keys that know by the test's clock when they were made, perhaps with some of another server in the same token.
struct Dated {
    inner: SoftStore,
    clock: Arc<TestClock>,
    made: Mutex<HashMap<KeyId, u64>>,
    foreign: Mutex<Vec<KeyRecord>>,
    /// A key that was made is not handed over while somebody holds this.
    gate: Arc<RwLock<()>>,
}

fn dated() -> (Disk, Arc<Dated>) {
    let mut disk = Disk::new();
    let keys = Arc::new(Dated {
        inner: SoftStore::in_memory("test"),
        clock: Arc::clone(&disk.clock),
        made: Mutex::default(),
        foreign: Mutex::default(),
        gate: Arc::default(),
    });
    disk.inventory = Some(Arc::clone(&keys) as _);
    (disk, keys)
}

#[async_trait::async_trait]
impl KeyStore for Dated {
    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let record = self.inner.generate(label, key_type).await?;
        self.made.lock().unwrap().insert(record.id.clone(), self.clock.now().as_secs());
        let _open = self.gate.read().await;
        Ok(record)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.inner.find(id).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.inner.sign(id, scheme, digest).await
    }
}

#[async_trait::async_trait]
impl KeyInventory for Dated {
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let foreign = self.foreign.lock().unwrap().clone();
        Ok(self.inner.list().await?.into_iter().chain(foreign).collect())
    }

    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        Ok(self.made.lock().unwrap().get(id).copied())
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        self.inner.destroy(id).await
    }
}

async fn listed(server: &Server) -> Vec<UnreferencedKey> {
    let permit = server.permit::<rpc::ListUnreferencedKeys>(&local()).await;
    server.services.orphans.list(permit).await.unwrap()
}

async fn destroyed(server: &Server, id: &KeyId) -> Result<UnreferencedKey, DestroyRefusal> {
    let permit = server.permit::<rpc::DestroyUnreferencedKeys>(&local()).await;
    server.services.orphans.destroy(permit, std::slice::from_ref(id)).await.unwrap().pop().unwrap()
}

fn states(keys: &[UnreferencedKey]) -> Vec<(&KeyId, UnreferencedState)> {
    keys.iter().map(|key| (&key.record.id, key.state)).collect()
}

/// Threat 50: what a kill leaves between making a key and journalling it is found, left alone while it is young, and goes only by name.
#[tokio::test]
async fn a_key_that_no_journal_has_is_listed_and_destroyed_by_name() {
    let (disk, keys) = dated();
    let server = disk.start().await.unwrap();
    let active = server.slot(SlotName::X509CaA).unwrap().key_id.clone();
    assert_eq!(listed(&server).await, [], "what the journal has is no orphan");
    // By a process that was killed, so this one does not remember it.
    let left = keys.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
    assert_eq!(states(&listed(&server).await), [(&left.id, UnreferencedState::Recent)]);
    assert!(matches!(destroyed(&server, &left.id).await, Err(DestroyRefusal::Recent { .. })));
    server.clock.advance(GRACE.as_secs());
    let found = listed(&server).await;
    assert_eq!(states(&found), [(&left.id, UnreferencedState::Orphan)]);
    assert_eq!((found[0].made_at, &found[0].record.label), (Some(crate::fixture::START), &left.label));
    let held = keys.inner.list().await.unwrap().len();

    assert!(matches!(
        destroyed(&server, &active).await,
        Err(DestroyRefusal::Referenced { slot: SlotName::X509CaA, .. })
    ));
    assert!(matches!(destroyed(&server, &KeyId::new([7; 16])).await, Err(DestroyRefusal::NoSuchKey { .. })));
    assert_eq!(keys.inner.list().await.unwrap().len(), held, "nothing went that was refused");
    destroyed(&server, &left.id).await.unwrap();
    assert_eq!(listed(&server).await, []);
    assert!(matches!(destroyed(&server, &left.id).await, Err(DestroyRefusal::NoSuchKey { .. })));
    let lines = disk.audit.lines();
    let named = |line: &&String| line.contains("unreferenced key destroy") && line.contains(&left.id.to_string());
    let line = lines.iter().find(named).unwrap();
    assert!(line.contains(&found[0].spki_sha256_hex()) && line.contains("uid=0"), "{line}");
    server.services.ca.probe().await.unwrap();
}

/// Two servers on one database: the journal of the one protects its key from the other, by its identifier and by its public key.
#[tokio::test]
async fn another_servers_journal_protects_its_keys() {
    let (disk, _keys) = dated();
    let first = disk.start().await.unwrap();
    let theirs = first.slot(SlotName::X509CaA).unwrap();
    let (mut second_disk, keys) = dated();
    second_disk.directory = Arc::clone(&disk.directory);
    let second = second_disk.start().await.unwrap();
    assert_ne!(first.services.ca.server_id(), second.services.ca.server_id());
    let record = disk.inventory.as_ref().unwrap().find(&theirs.key_id).await.unwrap().unwrap();
    let renamed = KeyRecord { id: KeyId::new([9; 16]), ..record.clone() };
    *keys.foreign.lock().unwrap() = vec![record, renamed.clone()];
    assert_eq!(listed(&second).await, []);
    for id in [&theirs.key_id, &renamed.id] {
        let refusal = destroyed(&second, id).await.unwrap_err();
        let server = first.services.ca.server_id();
        assert!(matches!(&refusal, DestroyRefusal::Referenced { server: of, .. } if *of == server), "{refusal}");
    }
}

/// A rotation whose publication fails holds a key that no journal has. It is not listed as an orphan however long that lasts.
#[tokio::test]
async fn a_key_whose_publication_fails_is_left_alone() {
    let (disk, keys) = dated();
    drop(disk.start().await.unwrap());
    let server = disk.start_on(FaultyStore::over(disk.store().await, Step::Prepare, 1)).await.unwrap();
    server.clock.advance(CA_TTL / 2 + 1);
    server.services.rotate().await;
    server.clock.advance(2 * GRACE.as_secs());
    let found = listed(&server).await;
    let [key] = found.as_slice() else { unreachable!("one key waits: {found:?}") };
    assert_eq!(key.state, UnreferencedState::InTheMaking);
    assert!(matches!(destroyed(&server, &key.record.id).await, Err(DestroyRefusal::InTheMaking { .. })));
    server.services.rotate().await;
    assert_eq!(listed(&server).await, []);
    assert_eq!(server.slot(SlotName::X509CaB).unwrap().key_id, key.record.id, "the very key is used");
    assert_eq!(keys.inner.list().await.unwrap().len(), 4, "two slots of two kinds");
}

/// A key that the token has made and not handed over yet is in its list already: the list waits for it.
#[tokio::test]
async fn a_key_that_is_just_being_made_is_no_orphan() {
    let (disk, keys) = dated();
    let server = Arc::new(disk.start().await.unwrap());
    server.clock.advance(CA_TTL / 2 + 1);
    let before = keys.inner.list().await.unwrap().len();
    let held = Arc::clone(&keys.gate).write_owned().await;
    let rotation = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.services.rotate().await }
    });
    while keys.inner.list().await.unwrap().len() <= before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Whatever its age: the grace is not what protects it.
    server.clock.advance(2 * GRACE.as_secs());
    let list = tokio::spawn({
        let server = Arc::clone(&server);
        async move { listed(&server).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!list.is_finished(), "it lists while a key is being made");
    drop(held);
    let found = list.await.unwrap();
    assert!(found.iter().all(|key| key.state == UnreferencedState::InTheMaking), "{found:?}");
    rotation.await.unwrap();
    assert_eq!(listed(&server).await, []);
}

/// No key goes unrecorded, and none from a store that can't forget.
#[tokio::test]
async fn nothing_is_destroyed_unrecorded() {
    let (disk, keys) = dated();
    let server = disk.start().await.unwrap();
    let left = keys.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
    server.clock.advance(GRACE.as_secs());
    let permit = server.permit::<rpc::DestroyUnreferencedKeys>(&local()).await;
    disk.audit.fill();
    let ids = [left.id.clone()];
    let outcome = server.services.orphans.destroy(permit, &ids).await.unwrap().pop().unwrap();
    assert!(matches!(outcome, Err(DestroyRefusal::Audit(_))), "{outcome:?}");
    assert!(keys.inner.find(&left.id).await.unwrap().is_some());

    let kept = Disk::new().start().await.unwrap();
    let permit = kept.permit::<rpc::ListUnreferencedKeys>(&local()).await;
    assert!(matches!(kept.services.orphans.list(permit).await, Err(OrphanError::CannotForget)));
}
