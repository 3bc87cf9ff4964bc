//! Health: whether this server can issue, proven by doing it.
//!
//! Three states. Ready: the CA's keys, the one for JWT-SVIDs too, have just made a signature and the store answers. Serving from cache: no signature now, but the
//! authorities are in force, and what was issued, bundles and entries are served; who has an SVID goes on. Failed: the store does not
//! answer, or the CA has expired and nothing that it signed is worth anything.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plastron_hsm::KeyStoreError;
use tokio::sync::watch;

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
/// How long anyone is kept waiting for an answer: a test signature, and a store that is slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Answers `/ready` and the gRPC health service.
///
/// One answer is sought at a time, whoever asks, in a task of its own: those who ask meanwhile get the same one, so no queue forms behind a
/// token that hangs, and one who goes away takes nothing from the others.
pub struct Health {
    probe: Arc<Probe>,
    under_way: Mutex<Option<watch::Receiver<Option<Answer>>>>,
}

type Answer = Result<(), Arc<NotReady>>;

struct Probe {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
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
        let probe = Arc::new(Probe { ca, ledger, clock, audit, known: Mutex::default() });
        Self { probe, under_way: Mutex::default() }
    }

    /// Has the audit log and the store answer, and the CA's keys make test signatures.
    pub async fn check(&self) -> Result<(), Arc<NotReady>> {
        let mut answer = self.ask();
        let late = || Arc::new(NotReady::Failed(Unhealthy::NoAnswer { seconds: ANSWER_LIMIT.as_secs() }));
        match tokio::time::timeout(ANSWER_LIMIT, answer.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone().unwrap_or_else(|| Err(late())),
            // A panic ended the task: nothing is known.
            Ok(Err(_gone)) => Err(late()),
            Err(_elapsed) => Err(late()),
        }
    }

    /// The answer that is sought now.
    fn ask(&self) -> watch::Receiver<Option<Answer>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open =
            |answer: &&watch::Receiver<Option<Answer>>| answer.borrow().is_none() && answer.has_changed().is_ok();
        if let Some(answer) = under_way.as_ref().filter(is_open) {
            return answer.clone();
        }
        let (told, answer) = watch::channel(None);
        let probe = Arc::clone(&self.probe);
        tokio::spawn(async move {
            let found = probe.run().await.map_err(Arc::new);
            told.send_replace(Some(found));
        });
        *under_way = Some(answer.clone());
        answer
    }
}

impl Probe {
    async fn run(&self) -> Result<(), NotReady> {
        let audited = self.audit.check().await;
        let now = self.clock.now().as_secs();
        // Held before the checks run: one that is cut off has found nothing good.
        let Some(since) = self.bad_since(audited.is_ok(), now) else { return Ok(()) };
        self.ledger.catch_up().await.map_err(Unhealthy::Store)?;
        let probes = async { tokio::join!(self.ca.probe(), self.ca.probe_jwt()) };
        let probed = tokio::time::timeout(PROBE_LIMIT, probes).await;
        let obstacle = match (audited, probed) {
            (_, Ok((Err(expired @ CaError::Expired { .. }), _))) => return Err(Unhealthy::Ca(expired).into()),
            (_, Ok((Err(error), _))) => Obstacle::Ca(error),
            (_, Ok((Ok(()), Err(error)))) => Obstacle::Jwt(error),
            (_, Err(_elapsed)) => Obstacle::NoAnswer { seconds: PROBE_LIMIT.as_secs() },
            (Err(error), Ok((Ok(()), Ok(())))) => Obstacle::Audit(error),
            (Ok(()), Ok((Ok(()), Ok(())))) => {
                *self.known() = Known { good_at: Some(now), bad_since: None };
                return Ok(());
            }
        };
        Err(FromCache { since, obstacle }.into())
    }

    /// Since when nothing is known to be good; `None` where the last answer was, and is good still.
    fn bad_since(&self, is_audited: bool, now: u64) -> Option<u64> {
        let mut known = self.known();
        // One from a time that is to come again proves nothing: the clock was set back.
        let is_fresh = known.good_at.and_then(|good_at| now.checked_sub(good_at)).is_some_and(|age| age < GOOD_FOR);
        if is_audited && known.bad_since.is_none() && is_fresh {
            return None;
        }
        Some(*known.bad_since.get_or_insert(now))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// X.509-SVIDs are issued, and no JWT-SVIDs.
    #[error("the CA is not ready for JWT-SVIDs")]
    Jwt(#[source] CaError),
    /// Nothing is issued, because it could not be recorded.
    #[error("nothing is issued for now")]
    Audit(#[source] AuditSinkError),
    /// The CA's key store gives no answer.
    #[error("the CA's keys made no test signature within {seconds} s")]
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
    },
}

impl Obstacle {
    /// What to do about it.
    pub fn remedy(&self) -> &str {
        let error = match self {
            Self::Ca(error) | Self::Jwt(error) => error,
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
    /// Some part of the server hangs.
    #[error("there was no answer within {seconds} s")]
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
    },
}
