//! What `local_authority` asks of the slots.

use std::sync::Arc;

use super::{CaError, CertificateAuthority};
use crate::store::{JournalEntry, SlotKind};

impl CertificateAuthority {
    /// The journal's word on the authority that signs, and on the one in the other slot. `None` where the kind is switched off.
    pub(crate) fn slots(&self, kind: SlotKind) -> Option<(Arc<JournalEntry>, Option<Arc<JournalEntry>>)> {
        let active = match kind {
            SlotKind::X509 => Arc::clone(self.x509.active().entry()),
            SlotKind::Jwt => Arc::clone(self.jwt.as_ref()?.active().entry()),
        };
        let other = self.context.slot(active.slot.other());
        Some((active, other))
    }

    /// Makes a new next authority.
    pub(crate) async fn prepare_next(&self, kind: SlotKind) -> Result<Arc<JournalEntry>, CaError> {
        match (kind, &self.jwt) {
            (SlotKind::X509, _) => self.x509.prepare(&self.context).await,
            (SlotKind::Jwt, Some(jwt)) => jwt.prepare(&self.context).await,
            (SlotKind::Jwt, None) => Err(CaError::NothingPrepared),
        }
    }

    /// Lets the next authority sign now, if it is this one.
    pub(crate) async fn activate_next(&self, kind: SlotKind, authority_id: &str) -> Result<Arc<JournalEntry>, CaError> {
        match (kind, &self.jwt) {
            (SlotKind::X509, _) => Ok(Arc::clone(self.x509.activate(&self.context, authority_id).await?.entry())),
            (SlotKind::Jwt, Some(jwt)) => Ok(Arc::clone(jwt.activate(&self.context, authority_id).await?.entry())),
            (SlotKind::Jwt, None) => Err(CaError::NothingPrepared),
        }
    }
}
