//! The CA's key store, with the ability to forget keys where it has that, and who certifies the keys where they do not do that themselves.

use std::sync::Arc;

use plastron_hsm::{KeyInventory, KeyStore};
use plastron_plugins::upstream::UpstreamAuthority;

/// Where the CA's keys are made, and destroyed where the store can do that.
#[derive(Clone)]
pub struct CaKeys {
    store: Arc<dyn KeyStore>,
    inventory: Option<Arc<dyn KeyInventory>>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
}

impl CaKeys {
    /// A store that keeps every key that it ever made.
    pub fn kept(store: Arc<dyn KeyStore>) -> Self {
        Self { store, inventory: None, upstream: None }
    }

    /// A store that can destroy a key.
    pub fn destructible(inventory: Arc<dyn KeyInventory>) -> Self {
        Self { store: Arc::clone(&inventory) as _, inventory: Some(inventory), upstream: None }
    }

    /// With an upstream authority that certifies the keys of X.509 CAs, where there is one. Without, each certifies itself.
    pub fn below(self, upstream: Option<Arc<dyn UpstreamAuthority>>) -> Self {
        Self { upstream, ..self }
    }

    pub(super) fn upstream(&self) -> Option<&dyn UpstreamAuthority> {
        self.upstream.as_deref()
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        self.store.as_ref()
    }

    pub(super) fn inventory(&self) -> Option<&dyn KeyInventory> {
        self.inventory.as_deref()
    }
}
