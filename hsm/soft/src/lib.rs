//! Signing keys in software: in memory, where they end with the process, or in a directory.
//!
//! Keys are protected by file permissions only; whoever can read them can copy them, and [`StoreIdentity::non_extractable`]
//! says so. What this crate deliberately does not do: it encrypts nothing, and it never imports or exports a key.

mod directory;
mod pair;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};

use directory::Directory;
use pair::KeyPair;

/// How many keys one store holds. A server has six slots and keeps a few retired keys.
const MAX_KEYS: usize = 1024;

/// A software key store.
pub struct SoftStore {
    inner: Arc<Inner>,
}

struct Inner {
    identity: StoreIdentity,
    directory: Option<Directory>,
    // Read locks are held for a look-up and never while signing.
    keys: RwLock<HashMap<KeyId, Arc<Key>>>,
}

/// A key pair with its record.
struct Key {
    record: KeyRecord,
    pair: KeyPair,
}

impl SoftStore {
    /// Keys that end with the process. `name` is what errors and the audit log call the store.
    pub fn in_memory(name: &str) -> Self {
        let identity =
            StoreIdentity { kind: "memory", name: name.to_owned(), details: Vec::new(), non_extractable: false };
        Self { inner: Arc::new(Inner { identity, directory: None, keys: RwLock::default() }) }
    }

    /// Keys in a directory, which is made with mode 0700 if it is not there. One that others can enter is refused, and so is
    /// a key file that others can read. Blocks on the file system.
    pub fn on_disk(path: &Path) -> Result<Self, KeyStoreError> {
        let name = path.display().to_string();
        let directory = Directory::open(path)?;
        let mut keys = HashMap::new();
        for key in directory.load_all()? {
            keys.insert(key.record.id.clone(), Arc::new(key));
        }
        let identity = StoreIdentity { kind: "disk", name, details: Vec::new(), non_extractable: false };
        Ok(Self { inner: Arc::new(Inner { identity, directory: Some(directory), keys: RwLock::new(keys) }) })
    }

    fn key(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.inner.read().get(id).cloned()
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<KeyId, Arc<Key>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyId, Arc<Key>>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn generate(&self, label: String, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let held = self.read().len();
        if held >= MAX_KEYS {
            return Err(self.unavailable(format!("it holds {held} keys already; destroy some that nothing refers to")));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| self.unavailable(format!("no randomness: {error}")))?;
        let pair = KeyPair::generate(key_type)
            .map_err(|_| self.unavailable(format!("could not generate an {} key", key_type.as_str())))?;
        let public_key = pair.public_key().map_err(|reason| self.unavailable(reason))?;
        let record = KeyRecord { id: KeyId::new(id), label, key_type, public_key };
        let key = Key { record: record.clone(), pair };
        if let Some(directory) = &self.directory {
            directory.save(&key)?;
        }
        self.write().insert(record.id.clone(), Arc::new(key));
        Ok(record)
    }

    /// What the files say now, not what was read when the store was opened.
    fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let loaded = self.read().get(id).map(|key| key.record.clone());
        let (Some(directory), Some(loaded)) = (&self.directory, &loaded) else { return Ok(loaded) };
        let Some(stored) = directory.load(id)? else { return Ok(None) };
        if stored.record.public_key != loaded.public_key {
            return Err(KeyStoreError::KeyChanged { store: self.identity.name.clone(), id: id.clone() });
        }
        Ok(Some(stored.record))
    }

    fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        if !self.read().contains_key(id) {
            return Err(KeyStoreError::NoSuchKey { store: self.identity.name.clone(), id: id.clone() });
        }
        if let Some(directory) = &self.directory {
            directory.remove(id)?;
        }
        self.write().remove(id);
        Ok(())
    }

    fn unavailable(&self, reason: impl Into<String>) -> KeyStoreError {
        KeyStoreError::Unavailable { store: self.identity.name.clone(), reason: reason.into() }
    }

    /// Files and key generation block, the latter up to seconds for RSA-4096: both run off the async threads.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let inner = Arc::clone(self);
        let outcome = tokio::task::spawn_blocking(move || work(&inner)).await;
        outcome.map_err(|error| self.unavailable(format!("the operation was cut off: {error}")))?
    }
}

#[async_trait::async_trait]
impl KeyStore for SoftStore {
    fn identity(&self) -> &StoreIdentity {
        &self.inner.identity
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let label = label.to_owned();
        self.inner.blocking(move |inner| inner.generate(label, key_type)).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let id = id.clone();
        self.inner.blocking(move |inner| inner.find(&id)).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let Some(key) = self.key(id) else {
            return Err(KeyStoreError::NoSuchKey { store: self.inner.identity.name.clone(), id: id.clone() });
        };
        key.record.key_type.check(scheme, digest)?;
        key.pair.sign(scheme, digest).map_err(|_| self.inner.unavailable("signing failed"))
    }
}

#[async_trait::async_trait]
impl KeyInventory for SoftStore {
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        Ok(self.inner.read().values().map(|key| key.record.clone()).collect())
    }

    /// The time of the file; keys in memory do not say.
    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError> {
        if self.key(id).is_none() {
            return Err(KeyStoreError::NoSuchKey { store: self.inner.identity.name.clone(), id: id.clone() });
        }
        let id = id.clone();
        self.inner
            .blocking(move |inner| inner.directory.as_ref().map_or(Ok(None), |directory| directory.made_at(&id)))
            .await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError> {
        let id = id.clone();
        self.inner.blocking(move |inner| inner.destroy(&id)).await
    }
}
