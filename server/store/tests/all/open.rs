//! Opening: who may read the file, and which files are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use plastron_server_core::store::{EntryStore as _, Store as _, StoreError};
use plastron_server_store::SqliteStore;

use crate::fixture::{Place, entry};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_server_can_read_it() {
    let place = Place::new();
    let store = place.open().await;
    store.create_entries(vec![entry("a")]).await.unwrap();
    assert_eq!(mode(&place.path()), 0o600);
    assert_eq!(mode(place.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&place.path().with_extension("sqlite3-wal")), 0o600, "the log has the same secrets");
    drop(store);
    fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
    place.open().await;
    assert_eq!(mode(&place.path()), 0o600);
}

#[tokio::test]
async fn everything_comes_back() {
    let place = Place::new();
    let store = place.open().await;
    let written = store.create_entries(vec![entry("a"), entry("b")]).await.unwrap();
    store.close().await;
    let mut snapshot = place.open().await.load().await.unwrap();
    snapshot.entries.sort_by(|one, other| one.id.cmp(&other.id));
    let written: Vec<_> = written.value.into_iter().map(|entry| entry.unwrap().as_ref().clone()).collect();
    assert_eq!((snapshot.revision, snapshot.entries), (2, written));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let place = Place::new();
    place.open().await.close().await;
    place.tamper("INSERT INTO migrations (version, applied_at) VALUES (99, 0)").await;
    let error = SqliteStore::open(&place.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 6, .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::write(place.path(), vec![0x5a; 8192]).unwrap();
    let error = SqliteStore::open(&place.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

/// Threat 55
#[tokio::test]
async fn a_damaged_page_is_named() {
    let place = Place::new();
    let store = place.open().await;
    let many = (0..2_000).map(|n| entry(&format!("e{n}"))).collect();
    store.create_entries(many).await.unwrap();
    store.close().await;
    let mut bytes = fs::read(place.path()).unwrap();
    let from = bytes.len() / 4;
    let to = bytes.len() / 2;
    bytes.get_mut(from..to).unwrap().fill(0xff);
    fs::write(place.path(), bytes).unwrap();
    let refused = match SqliteStore::open(&place.path()).await {
        Ok(store) => store.load().await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(refused, Some(StoreError::Corrupt { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_value_that_nobody_wrote_is_named() {
    let place = Place::new();
    let store = place.open().await;
    store.create_entries(vec![entry("a")]).await.unwrap();
    store.close().await;
    place.tamper("UPDATE entries SET selectors = '[\"no-colon\"]'").await;
    let error = place.open().await.load().await.err().unwrap().to_string();
    assert!(error.contains("table entries, row \"a\": column selectors"), "{error}");
}

#[tokio::test]
async fn a_directory_that_can_not_be_made_is_named() {
    let place = Place::new();
    fs::write(place.path().parent().unwrap(), b"a file").unwrap();
    let error = SqliteStore::open(&place.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}
