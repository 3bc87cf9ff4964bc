//! The software store passes the suite, in memory and on disk, and keeps its files to itself.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use plastron_hsm::{KeyInventory, KeyStore, KeyStoreError, KeyType};
use plastron_hsm_conformance::Fixture;
use plastron_hsm_soft::SoftStore;

const ALL: &[KeyType] = &[KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048, KeyType::Rsa4096];

struct Memory;

#[async_trait::async_trait]
impl Fixture for Memory {
    fn key_types(&self) -> &[KeyType] {
        ALL
    }

    fn refused_key_types(&self) -> &[KeyType] {
        &[]
    }

    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory> {
        Arc::new(SoftStore::in_memory(instance))
    }

    fn is_durable(&self) -> bool {
        false
    }
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, instance: &str) -> PathBuf {
        self.0.path().join(instance)
    }
}

#[async_trait::async_trait]
impl Fixture for Disk {
    fn key_types(&self) -> &[KeyType] {
        ALL
    }

    fn refused_key_types(&self) -> &[KeyType] {
        &[]
    }

    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory> {
        Arc::new(SoftStore::on_disk(&self.path(instance)).unwrap())
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    plastron_hsm_conformance::run(&Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_conforms() {
    plastron_hsm_conformance::run(&Disk::new()).await;
}

#[tokio::test]
async fn files_are_private() {
    let disk = Disk::new();
    let store = SoftStore::on_disk(&disk.path("a")).unwrap();
    store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&disk.path("a")), 0o700);
    let files: Vec<_> = fs::read_dir(disk.path("a")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(mode(&files[0]), 0o600);
}

#[tokio::test]
async fn what_others_can_read_is_refused() {
    let disk = Disk::new();
    let path = disk.path("a");
    let store = SoftStore::on_disk(&path).unwrap();
    let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    let file = path.join(format!("{}.key", key.id));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let Err(KeyStoreError::Open { reason, remedy, .. }) = SoftStore::on_disk(&path) else { panic!("opened") };
    assert!(reason.contains("0750") && remedy.contains("0700"), "{reason}; {remedy}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let Err(KeyStoreError::Open { reason, remedy, .. }) = SoftStore::on_disk(&path) else { panic!("opened") };
    assert!(reason.contains("0640") && remedy.contains("0600"), "{reason}; {remedy}");
}

#[tokio::test]
async fn a_key_file_that_changed_or_went_is_noticed() {
    let disk = Disk::new();
    let path = disk.path("a");
    let store = SoftStore::on_disk(&path).unwrap();
    let (one, two) =
        (store.generate("1", KeyType::EcP256).await.unwrap(), store.generate("2", KeyType::EcP256).await.unwrap());
    let file = |id| path.join(format!("{id}.key"));
    fs::copy(file(&two.id), file(&one.id)).unwrap();
    assert!(matches!(store.find(&one.id).await, Err(KeyStoreError::KeyChanged { id, .. }) if id == one.id));
    fs::remove_file(file(&two.id)).unwrap();
    assert_eq!(store.find(&two.id).await.unwrap(), None);
}

#[tokio::test]
async fn malformed_files_are_named() {
    let disk = Disk::new();
    let path = disk.path("a");
    let store = SoftStore::on_disk(&path).unwrap();
    let key = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    let file = path.join(format!("{}.key", key.id));
    let good = fs::read_to_string(&file).unwrap();
    let long = good.replace("x509-CA-A", &"a".repeat(20_000));
    let cases = [
        ("{", "EOF"),
        (&good.replace("ec-p256", "ec-p384"), ""),
        (&good.replace("ec-p256", "dsa"), "unknown key type"),
        (&good.replace("\"version\":1", "\"version\":2"), "version 2"),
        (&good.replace("\"version\":1", "\"version\":1,\"extra\":1"), "unknown field"),
        (&long, "larger than"),
    ];
    for (text, expected) in cases {
        fs::write(&file, text).unwrap();
        let Err(KeyStoreError::Malformed { reason, .. }) = SoftStore::on_disk(&path) else { panic!("{text} loads") };
        assert!(reason.contains(expected) && reason.contains(&key.id.to_string()), "{reason}");
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(SoftStore::on_disk(&path).unwrap().list().await.unwrap(), vec![key]);
}

#[tokio::test]
async fn what_a_crash_left_is_removed() {
    let disk = Disk::new();
    let path = disk.path("a");
    drop(SoftStore::on_disk(&path).unwrap());
    fs::write(path.join("00.unfinished"), "half a key").unwrap();
    assert!(SoftStore::on_disk(&path).unwrap().list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}
