//! Health: whether this server can issue, proven by doing it.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::audit::{AuditLog, AuditSinkError};
use crate::ca::{CaError, CertificateAuthority};
use crate::clock::Clock;
use crate::ledger::Ledger;

/// Seconds that a good answer is good for: whoever may ask must not keep an HSM busy.
const GOOD_FOR: u64 = 5;

/// Answers `/ready` and the gRPC health service.
pub struct Health {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    /// When the last good answer was found, Unix seconds. Locked while one is sought, so there is one signature at a time.
    good_at: Mutex<Option<u64>>,
}

impl Health {
    pub(crate) fn new(
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
    ) -> Self {
        Self { ca, ledger, clock, audit, good_at: Mutex::new(None) }
    }

    /// Has the CA key make a test signature and asks the store for what others wrote.
    pub async fn check(&self) -> Result<(), Unhealthy> {
        self.audit.check().await?;
        let mut good_at = self.good_at.lock().await;
        let now = self.clock.now().as_secs();
        if good_at.is_some_and(|good_at| now.saturating_sub(good_at) < GOOD_FOR) {
            return Ok(());
        }
        *good_at = None;
        self.ca.probe().await?;
        self.ledger.catch_up().await?;
        *good_at = Some(now);
        Ok(())
    }
}

/// Why the server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The CA can't sign.
    #[error("the CA is not ready")]
    Ca(#[from] CaError),
    /// Nothing is issued, because it could not be recorded.
    #[error("nothing is issued for now")]
    Audit(#[from] AuditSinkError),
    /// The store does not answer.
    #[error("the store is not ready")]
    Store(#[from] crate::store::StoreError),
}
