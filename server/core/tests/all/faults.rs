//! Key stores and stores that fail, wait or lie at a chosen moment, over real ones.

mod federation;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use plastron_hsm::{KeyId, KeyRecord, KeyStore, KeyStoreError, KeyType, SignatureScheme, StoreIdentity};
use plastron_server_core::store::{
    AdmissionRecord, AdmitError, AuthorityChangeError, AuthoritySet, AuthorityStore, Change, Committed, CutOff,
    Decision, EntryConflict, EntryStore, JoinTokenRecord, JournalEntry, Node, NodeError, NodeStore, NodeSvid,
    PendingError, PendingStore, PendingTpm, PublishError, Published, ServerId, ServerRecord, ServerStore, SlotName,
    Snapshot, Store, StoreError, StoreStatistics, TokenError, TokenHash, TokenStore, WaitRecord,
};
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{Bundle, JwtAuthority, RegistrationEntry, SpiffeId, TrustDomain, X509Authority};
use tokio::sync::{Notify, RwLock};

/// Signs only while nobody holds the gate, and counts the signatures of each key.
pub(crate) struct SlowKeys {
    inner: Arc<dyn KeyStore>,
    gate: Arc<RwLock<()>>,
    waiting: Notify,
    signed: Mutex<Vec<KeyId>>,
    asked: AtomicUsize,
}

impl SlowKeys {
    pub(crate) fn over(inner: Arc<dyn KeyStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            gate: Arc::default(),
            waiting: Notify::new(),
            signed: Mutex::default(),
            asked: AtomicUsize::new(0),
        })
    }

    /// No signature is made before this is dropped.
    pub(crate) fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).try_write_owned().unwrap()
    }

    /// Returns once someone wants a signature while the gate is held.
    pub(crate) async fn somebody_waits(&self) {
        self.waiting.notified().await;
    }

    /// How many signatures were asked for, of any key.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How many signatures this key made.
    pub(crate) fn signatures(&self, id: &KeyId) -> usize {
        self.signed.lock().unwrap().iter().filter(|signed| *signed == id).count()
    }

    /// The keys that signed, each as often as it did.
    pub(crate) fn signers(&self) -> Vec<KeyId> {
        self.signed.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl KeyStore for SlowKeys {
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
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.gate.try_read().is_err() {
            self.waiting.notify_one();
        }
        let _open = self.gate.read().await;
        self.signed.lock().unwrap().push(id.clone());
        self.inner.sign(id, scheme, digest).await
    }
}

/// Shows another key under every identifier.
pub(crate) struct SwappedKeys(pub(crate) Arc<dyn KeyStore>);

#[async_trait::async_trait]
impl KeyStore for SwappedKeys {
    fn identity(&self) -> &StoreIdentity {
        self.0.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        self.0.generate(label, key_type).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        let other = self.0.generate("other", KeyType::EcP256).await?;
        Ok(Some(KeyRecord { id: id.clone(), ..other }))
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        self.0.sign(id, scheme, digest).await
    }
}

/// Shows the right public keys and signs with others.
pub(crate) struct ForeignSignatures(pub(crate) Arc<dyn KeyStore>);

#[async_trait::async_trait]
impl KeyStore for ForeignSignatures {
    fn identity(&self) -> &StoreIdentity {
        self.0.identity()
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        self.0.generate(label, key_type).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.0.find(id).await
    }

    async fn sign(&self, _id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        let other = self.0.generate("other", KeyType::EcP256).await?;
        self.0.sign(&other.id, scheme, digest).await
    }
}

/// The step of the CA that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Prepare,
    Activate,
    /// It is committed and reported as failed.
    ActivateUnheard,
    /// The bundle comes back without authorities.
    LoadBundle,
    /// The change log can't be read.
    Follow,
}

/// A store that fails the CA's steps as often as told.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    step: Step,
    failures: AtomicUsize,
}

impl FaultyStore {
    pub(crate) fn over(inner: Arc<dyn Store>, step: Step, failures: usize) -> Arc<Self> {
        Arc::new(Self { inner, step, failures: AtomicUsize::new(failures) })
    }

    /// Fails from now on, this often.
    pub(crate) fn arm(&self, failures: usize) {
        self.failures.store(failures, Ordering::SeqCst);
    }

    fn strike(&self, step: Step) -> Result<(), StoreError> {
        let left = self.failures.load(Ordering::SeqCst);
        if step != self.step || left == 0 {
            return Ok(());
        }
        self.failures.store(left - 1, Ordering::SeqCst);
        Err(StoreError::Statement { purpose: "obey", reason: "injected".to_owned(), remedy: "none" })
    }
}

#[async_trait::async_trait]
impl AuthorityStore for FaultyStore {
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
        upstream_roots: Vec<X509Authority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        self.strike(Step::Prepare)?;
        self.inner.prepare_authority(trust_domain, entry, upstream_roots).await
    }

    async fn activate_authority(&self, server: ServerId, slot: SlotName) -> Result<Committed<()>, StoreError> {
        self.strike(Step::Activate)?;
        let activated = self.inner.activate_authority(server, slot).await?;
        self.strike(Step::ActivateUnheard)?;
        Ok(activated)
    }

    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        self.inner.append_authorities(trust_domain, x509, jwt).await
    }

    async fn publish_jwt_authority(
        &self,
        trust_domain: TrustDomain,
        published: Published,
    ) -> Result<Committed<Arc<Bundle>>, PublishError> {
        self.inner.publish_jwt_authority(trust_domain, published).await
    }

    async fn living_jwt_authorities(&self, publisher: Option<SpiffeId>, now: i64) -> Result<usize, StoreError> {
        self.inner.living_jwt_authorities(publisher, now).await
    }

    async fn drop_authorities(&self, authorities: AuthoritySet) -> Result<Committed<usize>, StoreError> {
        self.inner.drop_authorities(authorities).await
    }

    async fn taint_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        self.inner.taint_authorities(authorities).await
    }

    async fn revoke_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        self.inner.revoke_authorities(authorities).await
    }
}

#[async_trait::async_trait]
impl ServerStore for FaultyStore {
    async fn see_server(&self, record: ServerRecord) -> Result<(), StoreError> {
        self.inner.see_server(record).await
    }

    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError> {
        self.inner.servers().await
    }

    async fn remove_server(&self, id: ServerId) -> Result<(), StoreError> {
        self.inner.remove_server(id).await
    }

    async fn prune_servers(&self, before: i64) -> Result<Committed<usize>, StoreError> {
        self.inner.prune_servers(before).await
    }
}

#[async_trait::async_trait]
impl EntryStore for FaultyStore {
    async fn create_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        self.inner.create_entries(entries).await
    }

    async fn update_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        self.inner.update_entries(entries).await
    }

    async fn delete_entries(&self, ids: Vec<String>) -> Result<Committed<Vec<Result<(), EntryConflict>>>, StoreError> {
        self.inner.delete_entries(ids).await
    }

    async fn prune_entries(&self, ids: Vec<String>, moment: i64) -> Result<Committed<Vec<String>>, StoreError> {
        self.inner.prune_entries(ids, moment).await
    }
}

#[async_trait::async_trait]
impl NodeStore for FaultyStore {
    async fn admit(&self, record: AdmissionRecord) -> Result<Committed<Arc<Node>>, AdmitError> {
        self.inner.admit(record).await
    }

    async fn renew(&self, id: SpiffeId, old: SerialNumber, new: NodeSvid) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.renew(id, old, new).await
    }

    async fn promote(&self, id: SpiffeId, serial: SerialNumber) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.promote(id, serial).await
    }

    async fn set_agent_version(&self, id: SpiffeId, version: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.set_agent_version(id, version).await
    }

    async fn cut_off(&self, id: SpiffeId, until: CutOff, reason: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.cut_off(id, until, reason).await
    }

    async fn ban(&self, id: SpiffeId) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.ban(id).await
    }

    async fn event_log(&self, sha256: [u8; 32], len: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.event_log(sha256, len).await
    }

    async fn evict(&self, id: SpiffeId) -> Result<Committed<()>, NodeError> {
        self.inner.evict(id).await
    }

    async fn prune_nodes(
        &self,
        ids: Vec<SpiffeId>,
        expired_before: u64,
    ) -> Result<Committed<Vec<SpiffeId>>, StoreError> {
        self.inner.prune_nodes(ids, expired_before).await
    }
}

#[async_trait::async_trait]
impl TokenStore for FaultyStore {
    async fn create_join_token(&self, record: JoinTokenRecord) -> Result<Committed<()>, TokenError> {
        self.inner.create_join_token(record).await
    }

    async fn has_join_token(&self, hash: TokenHash, now: i64) -> Result<bool, StoreError> {
        self.inner.has_join_token(hash, now).await
    }

    async fn prune_join_tokens(&self, now: i64) -> Result<Committed<u64>, StoreError> {
        self.inner.prune_join_tokens(now).await
    }
}

#[async_trait::async_trait]
impl PendingStore for FaultyStore {
    async fn wait(&self, record: WaitRecord) -> Result<Committed<PendingTpm>, AdmitError> {
        self.inner.wait(record).await
    }

    async fn pending(&self) -> Result<Vec<PendingTpm>, StoreError> {
        self.inner.pending().await
    }

    async fn decide(&self, id: SpiffeId, decision: Decision) -> Result<Committed<PendingTpm>, PendingError> {
        self.inner.decide(id, decision).await
    }
}

#[async_trait::async_trait]
impl Store for FaultyStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        let mut snapshot = self.inner.load().await?;
        if self.strike(Step::LoadBundle).is_err()
            && let Some(bundle) = &mut snapshot.bundle
        {
            bundle.x509_authorities.clear();
        }
        Ok(snapshot)
    }

    async fn changes_after(&self, revision: u64) -> Result<Vec<Change>, StoreError> {
        self.strike(Step::Follow)?;
        self.inner.changes_after(revision).await
    }

    async fn prune_change_log(&self, before: i64) -> Result<u64, StoreError> {
        self.inner.prune_change_log(before).await
    }

    fn statistics(&self) -> StoreStatistics {
        self.inner.statistics()
    }
}

/// A token (by what it says of itself) whose handles come to mean another key when a test says so.
pub(crate) struct TurncoatKeys {
    inner: Arc<dyn KeyStore>,
    identity: StoreIdentity,
    pub(crate) turned: AtomicBool,
}

impl TurncoatKeys {
    pub(crate) fn over(inner: Arc<dyn KeyStore>) -> Arc<Self> {
        let identity = StoreIdentity { kind: "tpm", ..inner.identity().clone() };
        Arc::new(Self { inner, identity, turned: AtomicBool::new(false) })
    }
}

#[async_trait::async_trait]
impl KeyStore for TurncoatKeys {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError> {
        self.inner.generate(label, key_type).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.inner.find(id).await
    }

    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
        if !self.turned.load(Ordering::SeqCst) {
            return self.inner.sign(id, scheme, digest).await;
        }
        let other = self.inner.generate("other", KeyType::EcP256).await?;
        self.inner.sign(&other.id, scheme, digest).await
    }
}
