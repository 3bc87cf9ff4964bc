//! Health: whether this server can issue, proven by doing it.

use std::sync::Arc;

use crate::ca::{CaError, CertificateAuthority};
use crate::ledger::Ledger;

/// Answers `/ready` and the gRPC health service.
pub struct Health {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
}

impl Health {
    pub(crate) fn new(ca: Arc<CertificateAuthority>, ledger: Arc<Ledger>) -> Self {
        Self { ca, ledger }
    }

    /// Has the CA key make a test signature and asks the store for what others wrote.
    pub async fn check(&self) -> Result<(), Unhealthy> {
        self.ca.probe().await?;
        Ok(self.ledger.catch_up().await?)
    }
}

/// Why the server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The CA can't sign.
    #[error("the CA is not ready")]
    Ca(#[from] CaError),
    /// The store does not answer.
    #[error("the store is not ready")]
    Store(#[from] crate::store::StoreError),
}
