//! The key store in a real TPM.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plastron_attestation::{EkTemplate, TpmDevice};
use plastron_hsm::{KeyInventory, KeyStore, KeyStoreError, KeyType, SignatureScheme};
use plastron_hsm_conformance::{Fixture, verify};
use plastron_hsm_tpm::{AuthValue, SharedTpm, TpmConfig, TpmStore};
use plastron_swtpm_tests::Swtpm;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::tpm_device::assert_nothing_left;

struct InTpm {
    tpm: SharedTpm,
    directory: TempDir,
}

#[async_trait::async_trait]
impl Fixture for InTpm {
    fn key_types(&self) -> &[KeyType] {
        &[KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048]
    }

    fn refused_key_types(&self) -> &[KeyType] {
        &[KeyType::Rsa4096]
    }

    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory> {
        Arc::new(TpmStore::open(self.tpm.clone(), &self.directory.path().join(instance)).unwrap())
    }

    fn is_durable(&self) -> bool {
        true
    }
}

fn shared(tpm: &Swtpm) -> SharedTpm {
    SharedTpm::open(TpmConfig::new(tpm.tcti())).unwrap()
}

/// The same root as TCG's provisioning guidance makes persistent, made by tpm2-tools.
fn make_root_persistent(tpm: &Swtpm) {
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    let root = ["createprimary", "-C", "o", "-G", "rsa2048:aes128cfb", "-g", "sha256", "-a", attributes];
    tpm.tpm2(&[&root[..], &["-c", "root.ctx", "-Q"]].concat()).unwrap();
    tpm.tpm2(&["evictcontrol", "-c", "root.ctx", "0x81000001", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_passes_the_suite() {
    let tpm = Swtpm::start().unwrap();
    let fixture = InTpm { tpm: shared(&tpm), directory: tempfile::tempdir().unwrap() };
    plastron_hsm_conformance::run(&fixture).await;
    assert_nothing_left(&tpm);
}

async fn signs(store: &TpmStore, id: &plastron_hsm::KeyId) -> Result<(), KeyStoreError> {
    let key = store.find(id).await?.unwrap();
    let digest = plastron_hsm_conformance::digest(SignatureScheme::EcdsaSha256, b"message");
    let signature = store.sign(id, SignatureScheme::EcdsaSha256, &digest).await?;
    verify(&key, SignatureScheme::EcdsaSha256, b"message", &signature).unwrap();
    Ok(())
}

/// A key is a child of the root that there was when it was made, and each is found again; a clear takes both.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_children_of_a_root_that_survives_all_but_a_clear() {
    let tpm = Swtpm::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let open = || TpmStore::open(shared(&tpm), &directory.path().join("keys")).unwrap();
    let under_the_primary = open().generate("a", KeyType::EcP256).await.unwrap().id;
    make_root_persistent(&tpm);
    let under_the_persistent = open().generate("b", KeyType::EcP256).await.unwrap().id;
    tpm.reboot().unwrap();
    for id in [&under_the_primary, &under_the_persistent] {
        signs(&open(), id).await.unwrap();
    }
    // Another key at the handle is not taken for the root: an EK can't be used without its policy.
    tpm.tpm2(&["evictcontrol", "-c", "0x81000001"]).unwrap();
    tpm.tpm2(&["createek", "-c", "0x81000001", "-G", "rsa", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    signs(&open(), &under_the_primary).await.unwrap();
    let beside_it = open().generate("c", KeyType::EcP256).await.unwrap().id;
    signs(&open(), &beside_it).await.unwrap();
    let error = signs(&open(), &under_the_persistent).await.unwrap_err();
    assert!(matches!(&error, KeyStoreError::UnsafeKey { reason, .. } if reason.contains("cleared")), "{error}");
    tpm.clear().unwrap();
    let error = signs(&open(), &under_the_primary).await.unwrap_err();
    assert!(matches!(&error, KeyStoreError::UnsafeKey { reason, .. } if reason.contains("cleared")), "{error}");
    assert_nothing_left(&tpm);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_auth_is_needed_where_the_root_has_to_be_made() {
    let tpm = Swtpm::start().unwrap();
    tpm.set_auth("owner", "secret").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let with_auth = |owner_auth| {
        let tpm = SharedTpm::open(TpmConfig { owner_auth, ..TpmConfig::new(tpm.tcti()) }).unwrap();
        TpmStore::open(tpm, &directory.path().join("keys")).unwrap()
    };
    let error = with_auth(AuthValue::unset()).generate("a", KeyType::EcP256).await.unwrap_err();
    assert!(matches!(&error, KeyStoreError::Open { reason, .. } if reason.contains("owner")), "{error}");
    let value = AuthValue::new(Zeroizing::new(b"secret".to_vec()), "a test").unwrap();
    let store = with_auth(value);
    let id = store.generate("a", KeyType::EcP256).await.unwrap().id;
    signs(&store, &id).await.unwrap();
    assert_nothing_left(&tpm);
}

/// The one file of a store with one key.
async fn one_key(tpm: &Swtpm, directory: &Path) -> (PathBuf, plastron_hsm::KeyId) {
    let store = TpmStore::open(shared(tpm), directory).unwrap();
    let id = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap().id;
    (directory.join(format!("{id}.tpmkey")), id)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_private_and_what_others_can_touch_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("keys");
    let (file, _) = one_key(&tpm, &directory).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
    for (path, bad, good) in [(&directory, 0o750, 0o700), (&file, 0o604, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(bad)).unwrap();
        let error = TpmStore::open(shared(&tpm), &directory).map(|_| ()).unwrap_err();
        assert!(matches!(error, KeyStoreError::Open { .. }), "{error}");
        fs::set_permissions(path, fs::Permissions::from_mode(good)).unwrap();
    }
    // What a crash left beside is no key.
    fs::write(directory.join("00.unfinished"), "half").unwrap();
    TpmStore::open(shared(&tpm), &directory).unwrap();
    assert!(!directory.join("00.unfinished").exists());
}

/// A file that does not parse, is of another version, or holds a key that this store never makes; and one whose private part is another
/// key's, which only the TPM can tell.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_unsafe_keys_are_refused() {
    let tpm = Swtpm::start().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("keys");
    let (file, id) = one_key(&tpm, &directory).await;
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut document = good.clone();
        document[field] = value;
        document.to_string()
    };
    // An AK signs only what the TPM made, and is no key of a store.
    let ak = shared(&tpm).create_attestation_key(EkTemplate::H3P384).unwrap();
    let malformed = [
        String::new(),
        "x".repeat(20_000),
        with("version", 2.into()),
        with("public", "zz".into()),
        with("public", "00".into()),
        with("more", 1.into()),
    ];
    for text in malformed {
        fs::write(&file, &text).unwrap();
        let error = TpmStore::open(shared(&tpm), &directory).map(|_| ()).unwrap_err();
        assert!(matches!(&error, KeyStoreError::Malformed { reason, .. } if reason.contains(".tpmkey")), "{error}");
    }
    fs::write(&file, with("public", hex::encode(&ak.public).into())).unwrap();
    let error = TpmStore::open(shared(&tpm), &directory).map(|_| ()).unwrap_err();
    assert!(matches!(&error, KeyStoreError::UnsafeKey { reason, .. } if reason.contains("restricted")), "{error}");

    let (other, _) = one_key(&tpm, &scratch.path().join("other")).await;
    let other: serde_json::Value = serde_json::from_slice(&fs::read(other).unwrap()).unwrap();
    fs::write(&file, with("private", other["private"].clone())).unwrap();
    let store = TpmStore::open(shared(&tpm), &directory).unwrap();
    let error = signs(&store, &id).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::UnsafeKey { .. }), "{error}");
    fs::write(&file, with("public", other["public"].clone())).unwrap();
    assert!(matches!(store.find(&id).await, Err(KeyStoreError::KeyChanged { .. })));
    assert_nothing_left(&tpm);
}
