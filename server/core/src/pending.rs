//! TPMs that wait for a person: what operators see of them and decide. Who has to wait, the pools say; `admission` makes them wait.

use std::sync::Arc;

use plastron_spiffe::SpiffeId;

use crate::audit;
use crate::authorization::{Permit, Rpc, rpc};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::limits::MAX_REASON_LEN;
use crate::store::{Decision, DecisionVerdict, PendingError, PendingTpm, StoreError};

/// Lists TPMs that wait, and decides on them.
pub struct PendingTpms {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

impl PendingTpms {
    pub(crate) fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, clock }
    }

    /// All of them, in the order of their first attempt.
    pub async fn list(&self, _permit: Permit<rpc::ListPendingTpms>) -> Result<Vec<PendingTpm>, StoreError> {
        self.ledger.store().pending().await
    }

    /// Lets one in, once.
    pub async fn approve(
        &self,
        permit: Permit<rpc::ApprovePendingTpm>,
        id: SpiffeId,
        reason: String,
    ) -> Result<PendingTpm, DecideError> {
        self.decide(permit, "tpm pending approve", id, DecisionVerdict::Approved, reason).await
    }

    /// Keeps one out.
    pub async fn reject(
        &self,
        permit: Permit<rpc::RejectPendingTpm>,
        id: SpiffeId,
        reason: String,
    ) -> Result<PendingTpm, DecideError> {
        self.decide(permit, "tpm pending reject", id, DecisionVerdict::Rejected, reason).await
    }

    async fn decide<R: Rpc>(
        &self,
        permit: Permit<R>,
        action: &'static str,
        id: SpiffeId,
        verdict: DecisionVerdict,
        reason: String,
    ) -> Result<PendingTpm, DecideError> {
        let subject = format!("{id}: {reason:?}");
        let result = self.record(permit.identity(), id, verdict, reason).await;
        audit::change(permit.identity(), action, &subject, &audit::outcome(&result));
        result
    }

    async fn record(
        &self,
        by: &str,
        id: SpiffeId,
        verdict: DecisionVerdict,
        reason: String,
    ) -> Result<PendingTpm, DecideError> {
        if reason.is_empty() || reason.len() > MAX_REASON_LEN {
            return Err(DecideError::Reason { len: reason.len() });
        }
        let decision = Decision { verdict, by: by.to_owned(), at: unix_seconds(self.clock.now()), reason };
        let decided: Result<PendingTpm, PendingError> =
            self.ledger.write(Write::DecideOnTpm, move |store| async move { store.decide(id, decision).await }).await;
        Ok(decided?)
    }
}

/// Why nothing is decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// No reason, or a book: InvalidArgument.
    #[error("a reason has 1 to {MAX_REASON_LEN} bytes; this one has {len}")]
    Reason {
        /// Its length.
        len: usize,
    },
    /// No such TPM (NotFound), or the store failed (Internal).
    #[error(transparent)]
    Pending(#[from] PendingError),
}
