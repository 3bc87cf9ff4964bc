//! What every step of the CA needs.

use std::sync::Arc;

use plastron_hsm::KeyStore;

use super::upstream_bundle::Above;
use super::{CaConfig, CaKeys};
use crate::audit::AuditLog;
use crate::authority::Listeners;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::store::{JournalEntry, ServerId, SlotName};
use crate::watch::Watchers;

/// The CA's surroundings.
pub(super) struct CaContext {
    pub(super) server: ServerId,
    pub(super) config: CaConfig,
    pub(super) keys: CaKeys,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) above: Above,
}

impl CaContext {
    pub(super) fn key_store(&self) -> &dyn KeyStore {
        self.keys.store()
    }

    /// What the journal says about a slot of this server.
    pub(super) fn slot(&self, slot: SlotName) -> Option<Arc<JournalEntry>> {
        self.ledger.state().journal(self.server, slot)
    }

    pub(super) fn listeners(&self) -> Listeners<'_> {
        Listeners { this_server: self.server, ledger: &self.ledger, watchers: &self.watchers }
    }
}
