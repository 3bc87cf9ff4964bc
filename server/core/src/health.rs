//! Health: whether this server can issue, proven by doing it.
//!
//! Three states. Ready: the CA key has just made a signature and the store answers. Serving from cache: no signature now, but the
//! authorities are in force, and what was issued, bundles and entries are served; who has an SVID goes on. Failed: the store does not
//! answer, or the CA has expired and nothing that it signed is worth anything.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use plastron_hsm::KeyStoreError;
use tokio::sync::Mutex;

use crate::audit::{AuditLog, AuditSinkError};
use crate::ca::{CaError, CertificateAuthority};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::store::StoreError;

/// Seconds that a good answer is good for: whoever may ask must not keep an HSM busy.
const GOOD_FOR: u64 = 5;
/// How long a test signature may take. Shorter than the patience of those who ask for readiness, so that they learn why; a key store's
/// own deadline is far longer.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Answers `/ready` and the gRPC health service.
pub struct Health {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    /// Locked while an answer is sought, so there is one test signature at a time.
    known: Mutex<Known>,
}

/// What earlier answers left. Unix seconds.
#[derive(Default)]
struct Known {
    /// When the last good answer was found.
    good_at: Option<u64>,
    /// Since when there is none that is good.
    bad_since: Option<u64>,
}

impl Health {
    pub(crate) fn new(
        ca: Arc<CertificateAuthority>,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
    ) -> Self {
        Self { ca, ledger, clock, audit, known: Mutex::default() }
    }

    /// Has the audit log and the store answer, and the CA key make a test signature.
    pub async fn check(&self) -> Result<(), NotReady> {
        let mut known = self.known.lock().await;
        let audited = self.audit.check().await;
        let now = self.clock.now().as_secs();
        if audited.is_ok()
            && known.bad_since.is_none()
            && known.good_at.is_some_and(|good_at| now.saturating_sub(good_at) < GOOD_FOR)
        {
            return Ok(());
        }
        // Held before the checks run: one that is cut off has found nothing good.
        let since = *known.bad_since.get_or_insert(now);
        self.ledger.catch_up().await.map_err(Unhealthy::Store)?;
        let probed = tokio::time::timeout(PROBE_LIMIT, self.ca.probe()).await;
        let obstacle = match (audited, probed) {
            (_, Ok(Err(expired @ CaError::Expired { .. }))) => return Err(Unhealthy::Ca(expired).into()),
            (_, Ok(Err(error))) => Obstacle::Ca(error),
            (_, Err(_elapsed)) => Obstacle::NoAnswer { seconds: PROBE_LIMIT.as_secs() },
            (Err(error), Ok(Ok(()))) => Obstacle::Audit(error),
            (Ok(()), Ok(Ok(()))) => {
                *known = Known { good_at: Some(now), bad_since: None };
                return Ok(());
            }
        };
        Err(FromCache { since, obstacle }.into())
    }
}

/// Why the server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It serves what it has.
    #[error(transparent)]
    FromCache(#[from] FromCache),
    /// It does not serve, or nothing that anyone can use.
    #[error(transparent)]
    Failed(#[from] Unhealthy),
}

/// The server issues nothing now, and serves what it has.
#[derive(Debug, thiserror::Error)]
#[error("serving from cache")]
pub struct FromCache {
    /// When it was first found so, Unix seconds.
    pub since: u64,
    /// What is in the way of issuing.
    #[source]
    pub obstacle: Obstacle,
}

/// What is in the way of issuing.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The CA can't sign.
    #[error("the CA is not ready")]
    Ca(#[source] CaError),
    /// Nothing is issued, because it could not be recorded.
    #[error("nothing is issued for now")]
    Audit(#[source] AuditSinkError),
    /// The CA's key store gives no answer.
    #[error("the CA key made no test signature within {seconds} s")]
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
    },
}

impl Obstacle {
    /// What to do about it.
    pub fn remedy(&self) -> &str {
        let error = match self {
            Self::Ca(error) => error,
            Self::Audit(_) => return MEND_THE_LOG,
            Self::NoAnswer { .. } => return BRING_IT_BACK,
        };
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<KeyStoreError>() {
                return of_key_store(error);
            }
            next = error.source();
        }
        LOOK_AT_THE_KEY
    }
}

const BRING_IT_BACK: &str = "bring the key manager's device back: this server asks it again by itself; where calls hang in its module \
                             and do not end, restart this server";
const MEND_THE_LOG: &str =
    "see that the log can be written, as its disk and its owner let it: this server tries by itself";
const LOOK_AT_THE_KEY: &str = "find out what became of the CA's key before this server signs again";

fn of_key_store(error: &KeyStoreError) -> &str {
    match error {
        KeyStoreError::Open { remedy, .. } => remedy,
        KeyStoreError::Unavailable { .. }
        | KeyStoreError::CircuitOpen { .. }
        | KeyStoreError::DeadlineExceeded { .. } => BRING_IT_BACK,
        KeyStoreError::Overloaded { .. } => {
            "wait, and if it does not pass, give the key manager more sessions or the trust domain more servers"
        }
        KeyStoreError::NoSuchKey { .. }
        | KeyStoreError::UnsafeKey { .. }
        | KeyStoreError::KeyChanged { .. }
        | KeyStoreError::Malformed { .. } => LOOK_AT_THE_KEY,
        KeyStoreError::UnsupportedKeyType { .. }
        | KeyStoreError::WrongScheme { .. }
        | KeyStoreError::WrongDigestLength { .. }
        | KeyStoreError::Refused { .. } => "look at the key manager's device with its vendor's tools",
    }
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The CA has expired.
    #[error("the CA is not ready")]
    Ca(#[source] CaError),
    /// Nothing is issued, because it could not be recorded.
    #[error("nothing is issued for now")]
    Audit(#[source] AuditSinkError),
    /// The store does not answer.
    #[error("the store is not ready")]
    Store(#[source] StoreError),
}
