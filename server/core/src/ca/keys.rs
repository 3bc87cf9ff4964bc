//! The CA's key store, with the ability to forget keys where it has that.

use std::sync::Arc;

use plastron_hsm::{KeyInventory, KeyStore};

/// Where the CA's keys are made, and destroyed where the store can do that.
#[derive(Clone)]
pub struct CaKeys {
    store: Arc<dyn KeyStore>,
    inventory: Option<Arc<dyn KeyInventory>>,
}

impl CaKeys {
    /// A store that keeps every key that it ever made.
    pub fn kept(store: Arc<dyn KeyStore>) -> Self {
        Self { store, inventory: None }
    }

    /// A store that can destroy a key.
    pub fn destructible(inventory: Arc<dyn KeyInventory>) -> Self {
        Self { store: Arc::clone(&inventory) as _, inventory: Some(inventory) }
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        self.store.as_ref()
    }

    pub(super) fn inventory(&self) -> Option<&dyn KeyInventory> {
        self.inventory.as_deref()
    }
}
