//! What readiness says while the CA's key store does not do its work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_hsm::{KeyId, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use plastron_server_core::ca::CaError;
use plastron_server_core::health::{FromCache, NotReady, Obstacle, Unhealthy};
use plastron_server_core::ledger::Write;
use plastron_server_core::store::{Committed, StoreError};

use crate::faults::SlowKeys;
use crate::fixture::{CA_TTL, Disk, START};

type Answer = fn(String) -> KeyStoreError;

/// Signs, or answers with an error.
struct Moody {
    inner: Arc<dyn KeyStore>,
    error: Mutex<Option<Answer>>,
    /// The only key that it is so with.
    only: Mutex<Option<KeyId>>,
}

impl Moody {
    fn over(disk: &mut Disk) -> Arc<Self> {
        let keys = Arc::new(Self { inner: Arc::clone(&disk.keys), error: Mutex::default(), only: Mutex::default() });
        disk.keys = Arc::clone(&keys) as _;
        keys
    }

    fn says(&self, error: Option<Answer>) {
        *self.error.lock().unwrap() = error;
    }

    fn says_of(&self, key: KeyId, error: Option<Answer>) {
        *self.only.lock().unwrap() = Some(key);
        self.says(error);
    }
}

#[async_trait::async_trait]
impl KeyStore for Moody {
    fn identity(&self) -> &StoreIdentity {
        self.inner.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        self.inner.generate(label, key_type).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.inner.find(id).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let is_it = self.only.lock().unwrap().as_ref().is_none_or(|only| only == id);
        if let Some(error) = self.error.lock().unwrap().filter(|_error| is_it) {
            return Err(error("token".to_owned()));
        }
        self.inner.sign(id, scheme, digest).await
    }
}

fn locked(store: String) -> KeyStoreError {
    let (reason, remedy) = ("C_Login: CKR_PIN_LOCKED".to_owned(), "unlock it".to_owned());
    KeyStoreError::Open { store, reason, remedy }
}

fn left_alone(store: String) -> KeyStoreError {
    let reason = "all 2 sessions hang in the token's module".to_owned();
    KeyStoreError::CircuitOpen { store, reason, retry_after: Duration::from_secs(16) }
}

/// An answer that is shared with whoever asked at the same time.
#[derive(Debug)]
struct Cached(Arc<NotReady>);

impl std::ops::Deref for Cached {
    type Target = FromCache;

    fn deref(&self) -> &FromCache {
        let NotReady::FromCache(from_cache) = self.0.as_ref() else { unreachable!("{self:?}") };
        from_cache
    }
}

fn from_cache(answer: Result<(), Arc<NotReady>>) -> Cached {
    Cached(answer.unwrap_err())
}

/// Threat 53: a token that is locked or hangs stops issuance and nothing else, and readiness says since when, why and what to do.
#[tokio::test]
async fn a_key_that_does_not_sign_leaves_the_server_serving_from_cache() {
    let mut disk = Disk::new();
    let keys = Moody::over(&mut disk);
    let server = disk.start().await.unwrap();
    server.services.health.check().await.unwrap();
    disk.clock.advance(60);
    for (error, said, remedy) in
        [(locked as Answer, "CKR_PIN_LOCKED", "unlock it"), (left_alone, "all 2 sessions hang", "restart this server")]
    {
        keys.says(Some(error));
        disk.clock.advance(7);
        let found = from_cache(server.services.health.check().await);
        // Found at first, and not by every question anew.
        assert_eq!(found.since, START + 67);
        assert!(found.obstacle.remedy().contains(remedy), "{}", found.obstacle.remedy());
        assert!(format!("{found:?}").contains(said), "{found:?}");
        assert_eq!(server.services.bundles.current().x509_authorities.len(), 1, "the bundle is served");
    }
    keys.says(None);
    server.services.health.check().await.unwrap();
    disk.clock.advance(60);
    keys.says(Some(locked));
    assert_eq!(from_cache(server.services.health.check().await).since, START + 134);
}

/// A key store that hangs does not make readiness hang.
#[tokio::test]
async fn a_test_signature_that_does_not_come_is_not_waited_for() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let held = keys.hold();
    let found = from_cache(server.services.health.check().await);
    assert!(matches!(found.obstacle, Obstacle::NoAnswer { seconds: 3 }), "{found:?}");
    drop(held);
    server.services.health.check().await.unwrap();
}

/// Nothing that an expired CA signed is worth anything: that is no cache to serve from.
#[tokio::test]
async fn an_expired_ca_is_a_failure() {
    let server = Disk::new().start().await.unwrap();
    server.clock.advance(CA_TTL + 1);
    let answer = server.services.health.check().await;
    let error = answer.unwrap_err();
    assert!(matches!(error.as_ref(), NotReady::Failed(Unhealthy::Ca(CaError::Expired { .. }))), "{error:?}");
}

/// Threat 53: each of them waited for its own test signature, one after another, for three seconds each.
#[tokio::test]
async fn all_who_ask_while_a_token_hangs_get_one_answer_in_bounded_time() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let held = keys.hold();
    let before = keys.asked();
    // One who goes away takes the answer from nobody.
    let gone = tokio::time::timeout(Duration::from_millis(1), server.services.health.check()).await;
    assert!(gone.is_err());
    // A tenth of what a queue of two hundred test signatures takes.
    let asking = futures_util::future::join_all((0..200).map(|_| server.services.health.check()));
    for answer in tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap() {
        assert!(matches!(from_cache(answer).obstacle, Obstacle::NoAnswer { seconds: 3 }));
    }
    assert_eq!(keys.asked() - before, 2, "one signature of each key");
    drop(held);
    server.services.health.check().await.unwrap();
}

/// A store that hangs leaves nobody without an answer.
#[tokio::test]
async fn whatever_hangs_there_is_an_answer() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let ledger = Arc::clone(&server.services.ledger);
    let has_turn = Arc::new(tokio::sync::Notify::new());
    let tells = Arc::clone(&has_turn);
    let hangs = tokio::spawn(async move {
        let write = ledger.write(Write::CreateEntries, move |_store| {
            tells.notify_one();
            std::future::pending::<Result<Committed<()>, StoreError>>()
        });
        write.await.unwrap();
    });
    // It has its turn before anyone looks at the log.
    has_turn.notified().await;
    tokio::time::pause();
    let error = server.services.health.check().await.unwrap_err();
    assert!(matches!(error.as_ref(), NotReady::Failed(Unhealthy::NoAnswer { seconds: 5 })), "{error:?}");
    hangs.abort();
}

/// Of two keys in one token one may be lost: whoever asks for JWT-SVIDs is to be sent elsewhere.
#[tokio::test]
async fn a_jwt_key_that_does_not_sign_is_told() {
    let mut disk = Disk::new();
    let keys = Moody::over(&mut disk);
    let server = disk.start().await.unwrap();
    let jwt = server.services.ca.jwt_authority().unwrap().key_id().clone();
    keys.says_of(jwt, Some(locked));
    disk.clock.advance(60);
    let found = from_cache(server.services.health.check().await);
    assert!(matches!(found.obstacle, Obstacle::Jwt(_)) && found.obstacle.remedy() == "unlock it", "{found:?}");
}

/// A good answer from a time that is to come again proves nothing, and was taken for a fresh one until then.
#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_old_answer_good() {
    let mut disk = Disk::new();
    let keys = Moody::over(&mut disk);
    let server = disk.start().await.unwrap();
    disk.clock.advance(600);
    server.services.health.check().await.unwrap();
    disk.clock.go_back(300);
    keys.says(Some(locked));
    let found = from_cache(server.services.health.check().await);
    assert!(matches!(found.obstacle, Obstacle::Ca(_)), "{found:?}");
}
