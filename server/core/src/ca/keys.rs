//! The CA's key store, with the ability to forget keys where it has that, with a memory of what this process made in it, and who certifies
//! the keys where they do not do that themselves.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::meters;
use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use plastron_plugins::upstream::{UpstreamAuthority, UpstreamServer};
use tokio::sync::{RwLock, RwLockWriteGuard};

/// Where the CA's keys are made, and destroyed where the store can do that.
#[derive(Clone)]
pub struct CaKeys {
    store: Arc<Remembering>,
    inventory: Option<Arc<dyn KeyInventory>>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
    upstream_server: Option<Arc<dyn UpstreamServer>>,
}

impl CaKeys {
    /// A store that keeps every key that it ever made.
    pub fn kept(store: Arc<dyn KeyStore>) -> Self {
        Self { store: Arc::new(Remembering::over(store)), inventory: None, upstream: None, upstream_server: None }
    }

    /// A store that can destroy a key.
    pub fn destructible(inventory: Arc<dyn KeyInventory>) -> Self {
        let store = Arc::new(Remembering::over(Arc::clone(&inventory) as _));
        Self { store, inventory: Some(inventory), upstream: None, upstream_server: None }
    }

    /// With an upstream authority that certifies the keys of X.509 CAs, where there is one. Without, each certifies itself.
    pub fn below(self, upstream: Option<Arc<dyn UpstreamAuthority>>) -> Self {
        Self { upstream, ..self }
    }

    /// With the upstream's other ability, where it is a server of the trust domain: its bundle is followed, and it publishes JWT keys.
    pub fn below_server(self, upstream_server: Option<Arc<dyn UpstreamServer>>) -> Self {
        Self { upstream_server, ..self }
    }

    pub(super) fn upstream(&self) -> Option<&dyn UpstreamAuthority> {
        self.upstream.as_deref()
    }

    pub(super) fn upstream_server(&self) -> Option<&dyn UpstreamServer> {
        self.upstream_server.as_deref()
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        self.store.as_ref()
    }

    pub(super) fn inventory(&self) -> Option<&dyn KeyInventory> {
        self.inventory.as_deref()
    }

    /// What the store holds, at rest: until this is dropped no key is being made by this process. `None` where the store can't forget.
    pub(crate) async fn at_rest(&self) -> Option<KeysAtRest<'_>> {
        let inventory = self.inventory()?;
        Some(KeysAtRest { inventory, made: &self.store.made, _nothing_is_made: self.store.making.write().await })
    }
}

/// A store in which this process makes no key while this lives.
pub(crate) struct KeysAtRest<'a> {
    pub(crate) inventory: &'a dyn KeyInventory,
    made: &'a Mutex<HashSet<KeyId>>,
    _nothing_is_made: RwLockWriteGuard<'a, ()>,
}

impl KeysAtRest<'_> {
    /// Whether this process made the key, and perhaps has plans with it: it is not to be destroyed from the side.
    pub(crate) fn is_ours(&self, id: &KeyId) -> bool {
        locked(self.made).contains(id)
    }

    /// A journal has taken the key over from the memory of this process: once no journal has it any more, nobody needs it.
    pub(crate) fn journalled(&self, id: &KeyId) {
        locked(self.made).remove(id);
    }
}

/// Remembers which keys were made through it.
struct Remembering {
    inner: Arc<dyn KeyStore>,
    /// Read while a key is made, until it is remembered.
    making: RwLock<()>,
    made: Mutex<HashSet<KeyId>>,
}

impl Remembering {
    fn over(inner: Arc<dyn KeyStore>) -> Self {
        Self { inner, making: RwLock::default(), made: Mutex::default() }
    }
}

#[async_trait::async_trait]
impl KeyStore for Remembering {
    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        let _making = self.making.read().await;
        let call = meters::GENERATE_KEY.start();
        let record = call.ended(self.inner.generate(label, key_type).await)?;
        locked(&self.made).insert(record.id.clone());
        Ok(record)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.inner.find(id).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let call = meters::SIGN_DATA.start();
        call.ended(self.inner.sign(id, scheme, digest).await)
    }
}

fn locked(made: &Mutex<HashSet<KeyId>>) -> MutexGuard<'_, HashSet<KeyId>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}
