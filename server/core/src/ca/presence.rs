//! That this server is there, and up to which change it serves: other servers wait for it before they sign with a new authority.

use super::CertificateAuthority;
use crate::clock::unix_seconds;
use crate::store::{ServerRecord, StoreError};

impl CertificateAuthority {
    /// Tells the other servers on this store what this one serves: everything up to its state's revision.
    pub async fn announce(&self) -> Result<(), StoreError> {
        let ledger = &self.context.ledger;
        let (revision, seen_at) = (ledger.state().revision(), unix_seconds(self.context.clock.now()));
        ledger.store().see_server(ServerRecord { id: self.context.server, seen_at, revision }).await
    }

    /// Tells them that it stops: nobody has to wait for it.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.context.ledger.store().remove_server(self.context.server).await
    }
}
