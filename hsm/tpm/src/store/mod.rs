//! Signing keys that live in the TPM, as a `KeyStore`. What leaves the TPM are blobs that only it can load again, and they are kept as
//! files.
//!
//! What this module deliberately does not do: it shares no key with attestation, and imports and exports none.

mod directory;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use der::asn1::UintRef;
use der::{Encode as _, Sequence};
use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::TpmtSignature;
use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use tokio::sync::Semaphore;

use crate::stored_key::{self, StoredKey};
use crate::{SharedTpm, TpmProperties};
use directory::Directory;

/// How many keys one store holds. A server has six slots and keeps a few retired keys.
const MAX_KEYS: usize = 1024;
/// Operations that wait for the TPM: it does one at a time, a discrete one perhaps five in a second.
const MAX_WAITING: usize = 128;
/// When it is worth to ask again where so many wait: a discrete TPM has done a few of them by then.
const COME_BACK: Duration = Duration::from_secs(1);
/// How long one call may take with those before it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A key store in a TPM.
pub struct TpmStore {
    inner: Arc<Inner>,
    places: Arc<Semaphore>,
}

struct Inner {
    identity: StoreIdentity,
    tpm: SharedTpm,
    directory: Directory,
    // Locked for a look-up and never while the TPM works.
    keys: RwLock<HashMap<KeyId, Arc<Key>>>,
}

/// A key with its record.
struct Key {
    record: KeyRecord,
    stored: StoredKey,
}

impl TpmStore {
    /// Keys in this TPM whose blobs are in a directory, which is made with mode 0700 if it is not there. One that others can enter is
    /// refused, and so is a key that could leave the TPM. Blocks on the TPM and the file system.
    pub fn open(tpm: SharedTpm, path: &Path) -> Result<Self, KeyStoreError> {
        let directory = Directory::open(path)?;
        let name = path.display().to_string();
        let properties = tpm.with(|tpm| tpm.properties()).map_err(|error| failed(&name, &error))?;
        let TpmProperties { manufacturer, vendor, firmware, .. } = properties;
        let details = vec![("manufacturer", manufacturer), ("model", vendor), ("firmware", firmware)];
        let mut keys = HashMap::new();
        for key in directory.load_all()? {
            keys.insert(key.record.id.clone(), Arc::new(key));
        }
        let identity = StoreIdentity { kind: "tpm", name, details, non_extractable: true };
        let inner = Inner { identity, tpm, directory, keys: RwLock::new(keys) };
        Ok(Self { inner: Arc::new(inner), places: Arc::new(Semaphore::new(MAX_WAITING)) })
    }

    /// TPM and files block: both run off the async threads. What waits is bounded, and who waits too long is told so; the TPM may
    /// finish the operation all the same.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let store = || self.inner.identity.name.clone();
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| KeyStoreError::Overloaded {
            store: store(),
            reason: format!("{MAX_WAITING} operations wait already"),
            retry_after: COME_BACK,
        })?;
        let inner = Arc::clone(&self.inner);
        let working = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&inner)
        });
        match tokio::time::timeout(DEADLINE, working).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(self.inner.unavailable(format!("the operation was cut off: {error}"))),
            Err(_) => Err(KeyStoreError::DeadlineExceeded { store: store(), seconds: DEADLINE.as_secs() }),
        }
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<KeyId, Arc<Key>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyId, Arc<Key>>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, id: &KeyId) -> Result<Arc<Key>, KeyStoreError> {
        let no_key = || KeyStoreError::NoSuchKey { store: self.identity.name.clone(), id: id.clone() };
        self.read().get(id).cloned().ok_or_else(no_key)
    }

    fn generate(&self, label: String, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let held = self.read().len();
        if held >= MAX_KEYS {
            return Err(self.unavailable(format!("it holds {held} keys already; destroy some that nothing refers to")));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| self.unavailable(format!("no randomness: {error}")))?;
        let made = self.tpm.with(|tpm| tpm.link.whole(|link| stored_key::create(link, key_type)));
        let stored = made
            .map_err(|error| failed(&self.identity.name, &error))?
            .ok_or_else(|| KeyStoreError::UnsupportedKeyType { store: self.identity.name.clone(), key_type })?;
        let key = self.directory.understand(KeyId::new(id), label, stored)?;
        if key.record.key_type != key_type {
            return Err(self.unavailable("the TPM made a key of another type than asked"));
        }
        self.directory.save(&key)?;
        let record = key.record.clone();
        self.write().insert(record.id.clone(), Arc::new(key));
        Ok(record)
    }

    /// What the file says now, not what was read when the store was opened.
    fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let Some(loaded) = self.read().get(id).cloned() else { return Ok(None) };
        let Some(stored) = self.directory.load(id)? else { return Ok(None) };
        if stored.record.public_key != loaded.record.public_key {
            return Err(KeyStoreError::KeyChanged { store: self.identity.name.clone(), id: id.clone() });
        }
        Ok(Some(stored.record))
    }

    fn sign(&self, key: &Key, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let signed = self.tpm.with(|tpm| tpm.link.whole(|link| stored_key::sign(link, &key.stored, scheme, digest)));
        let signed = signed.map_err(|error| match error {
            TpmDeviceError::KeyNotLoadable { reason } => KeyStoreError::UnsafeKey {
                store: self.identity.name.clone(),
                id: key.record.id.clone(),
                reason: format!("the TPM does not load it: {reason}"),
            },
            other => failed(&self.identity.name, &other),
        })?;
        match stored_key::signature(scheme, &signed) {
            Some(TpmtSignature::Ecdsa { r, s, .. }) => {
                let encoded = UintRef::new(r).and_then(|r| EcdsaSignature { r, s: UintRef::new(s)? }.to_der());
                encoded.map_err(|error| self.unavailable(format!("the TPM's signature: {error}")))
            }
            Some(TpmtSignature::RsaSsa { signature, .. }) => Ok(signature.to_vec()),
            Some(TpmtSignature::RsaPss { .. }) | None => {
                Err(self.unavailable("the TPM signed with another scheme than asked"))
            }
        }
    }

    fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        self.key(id)?;
        self.directory.remove(id)?;
        self.write().remove(id);
        Ok(())
    }

    fn unavailable(&self, reason: impl Into<String>) -> KeyStoreError {
        KeyStoreError::Unavailable { store: self.identity.name.clone(), reason: reason.into() }
    }
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// What a failed TPM is for the user of a store: an operator has to correct a wrong value, the rest may pass.
fn failed(store: &str, error: &TpmDeviceError) -> KeyStoreError {
    let (store, reason) = (store.to_owned(), error.to_string());
    match error {
        TpmDeviceError::WrongAuth { .. } => {
            let remedy = "correct the owner's authorisation value and start the program anew".to_owned();
            KeyStoreError::Open { store, reason, remedy }
        }
        _ => KeyStoreError::Unavailable { store, reason },
    }
}

#[async_trait::async_trait]
impl KeyStore for TpmStore {
    fn identity(&self) -> &StoreIdentity {
        &self.inner.identity
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let label = label.to_owned();
        self.blocking(move |inner| inner.generate(label, key_type)).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let id = id.clone();
        self.blocking(move |inner| inner.find(&id)).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let key = self.inner.key(id)?;
        key.record.key_type.check(scheme, digest)?;
        let digest = digest.to_vec();
        self.blocking(move |inner| inner.sign(&key, scheme, &digest)).await
    }
}

#[async_trait::async_trait]
impl KeyInventory for TpmStore {
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        Ok(self.inner.read().values().map(|key| key.record.clone()).collect())
    }

    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        self.inner.key(id)?;
        let id = id.clone();
        self.blocking(move |inner| inner.directory.made_at(&id)).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        let id = id.clone();
        self.blocking(move |inner| inner.destroy(&id)).await
    }
}
