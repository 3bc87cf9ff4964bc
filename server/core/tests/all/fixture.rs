//! A server's services in a temporary directory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_hsm::{KeyInventory, KeyStore, KeyType};
use plastron_hsm_soft::SoftStore;
use plastron_plugins::node::NodeAttestor;
use plastron_plugins::upstream::{UpstreamAuthority, UpstreamServer};
use plastron_plugins_node_join_token::JoinTokenNodeAttestor;
use plastron_plugins_node_tpm::{DenyList, Pool, TpmNodeAttestor};
use plastron_server_core::admission::{AdmissionError, AdmittedAgent, AttestationStep};
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError, AuditValue, Issue, Recorded};
use plastron_server_core::authorization::{Caller, LocalPeer, Permit, Rpc, rpc};
use plastron_server_core::ca::{CaConfig, CaKeys, CaSubject, IssuedJwt, IssuedSvid, JwtLeaf, SignError};
use plastron_server_core::clock::Clock;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::store::{JournalEntry, SlotName, Store};
use plastron_server_core::tokens::JoinTokenRequest;
use plastron_server_core::{Services, ServicesConfig, StartError};
use plastron_server_store::SqliteStore;
use plastron_spiffe::x509::{Purpose, VerifiedSvid, X509Svid, verify_chain};
use plastron_spiffe::{RegistrationEntry, Selector, SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;
use tempfile::TempDir;

/// 2026-06-01.
pub(crate) const START: u64 = 1_780_272_000;
/// The CA's life in these tests.
pub(crate) const CA_TTL: u64 = 24 * 3600;

/// A clock that only tests turn.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    pub(crate) fn go_back(&self, seconds: u64) {
        self.0.fetch_sub(seconds, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

/// An audit sink in memory that fails when a test says so.
#[derive(Default)]
pub(crate) struct TestSink(Mutex<Sink>, Arc<tokio::sync::RwLock<()>>, tokio::sync::Notify);

#[derive(Default)]
struct Sink {
    written: Vec<AuditLine>,
    /// How many lines each write had, failed ones included.
    writes: Vec<usize>,
    /// Writes that fail, counted from the first.
    failing: BTreeSet<usize>,
    full: bool,
    broken: Option<AuditSinkError>,
}

impl TestSink {
    /// From now on nothing can be written, until [`TestSink::free`].
    pub(crate) fn fill(&self) {
        self.0.lock().unwrap().full = true;
    }

    pub(crate) fn free(&self) {
        self.0.lock().unwrap().full = false;
    }

    /// Lets the `n`-th write from now on fail, the next one being 1.
    pub(crate) fn fail_at(&self, n: usize) {
        let mut sink = self.0.lock().unwrap();
        let at = sink.writes.len() + n;
        sink.failing.insert(at);
    }

    /// As if an event of the target had not been written: nobody has heard of it yet.
    pub(crate) fn break_unheard(&self) {
        self.0.lock().unwrap().broken = Some(full());
    }

    /// No line is written before this is dropped.
    pub(crate) fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.1).try_write_owned().unwrap()
    }

    /// Returns once someone wants a line written while the sink is held.
    pub(crate) async fn somebody_waits(&self) {
        self.2.notified().await;
    }

    /// The number of lines of each write so far.
    pub(crate) fn writes(&self) -> Vec<usize> {
        self.0.lock().unwrap().writes.clone()
    }

    /// What was written, each line as `event field=value …`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().written.iter().map(shown).collect()
    }
}

fn shown(AuditLine { message, fields }: &AuditLine) -> String {
    let fields = fields.iter().map(|(name, value)| match value {
        AuditValue::Text(text) => format!("{name}={text:?}"),
        AuditValue::Number(number) => format!("{name}={number}"),
    });
    format!("{message:?} {}", fields.collect::<Vec<_>>().join(" "))
}

fn full() -> AuditSinkError {
    AuditSinkError { since: START, reason: "No space left on device (os error 28)".to_owned() }
}

#[async_trait::async_trait]
impl AuditSink for TestSink {
    async fn write(&self, lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        if self.1.try_read().is_err() {
            self.2.notify_one();
        }
        let _open = self.1.read().await;
        let mut sink = self.0.lock().unwrap();
        sink.writes.push(lines.len());
        let nth = sink.writes.len();
        if sink.full || sink.failing.remove(&nth) {
            sink.broken = Some(full());
            return Err(full());
        }
        sink.written.extend(lines.iter().cloned());
        sink.broken = None;
        Ok(())
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        self.0.lock().unwrap().broken.clone().map_or(Ok(()), Err)
    }
}

/// What outlives a server's process.
pub(crate) struct Disk {
    pub(crate) directory: Arc<TempDir>,
    pub(crate) keys: Arc<dyn KeyStore>,
    /// The key store in the place of `keys`, where it may destroy.
    pub(crate) inventory: Option<Arc<dyn KeyInventory>>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) audit: Arc<TestSink>,
    pub(crate) upstream: Option<Arc<dyn UpstreamAuthority>>,
    pub(crate) upstream_server: Option<Arc<dyn UpstreamServer>>,
    /// Which TPMs are trusted.
    pub(crate) pools: Vec<Pool>,
    pub(crate) config: ServicesConfig,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let keys = Arc::new(SoftStore::in_memory("test"));
        Self {
            directory: Arc::new(TempDir::new().unwrap()),
            keys,
            inventory: None,
            clock: TestClock::new(),
            audit: Arc::default(),
            upstream: None,
            upstream_server: None,
            pools: Vec::new(),
            config: config(),
        }
    }

    pub(crate) async fn store(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.directory.path().join("data/datastore.sqlite3")).await.unwrap())
    }

    pub(crate) async fn start(&self) -> Result<Server, StartError> {
        self.start_on(self.store().await).await
    }

    pub(crate) async fn start_on(&self, store: Arc<dyn Store>) -> Result<Server, StartError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let ledger = Ledger::open(Arc::clone(&store)).await.unwrap();
        let known = Arc::clone(ledger.state()) as _;
        let attestors: Vec<Arc<dyn NodeAttestor>> = vec![
            Arc::new(JoinTokenNodeAttestor),
            Arc::new(TpmNodeAttestor::new(self.pools.clone(), DenyList::default(), known, Arc::clone(&ledger) as _)),
        ];
        let keys = match &self.inventory {
            Some(inventory) => CaKeys::destructible(Arc::clone(inventory)),
            None => CaKeys::kept(Arc::clone(&self.keys)),
        };
        let keys = keys.below(self.upstream.clone()).below_server(self.upstream_server.clone());
        let services =
            Services::start(self.config.clone(), ledger, keys, attestors, clock, Arc::clone(&self.audit) as _).await?;
        Ok(Server { services, store, clock: Arc::clone(&self.clock), _directory: Arc::clone(&self.directory) })
    }
}

pub(crate) fn config() -> ServicesConfig {
    ServicesConfig {
        ca: CaConfig {
            trust_domain: trust_domain(),
            key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            ttl: Duration::from_secs(CA_TTL),
            subject: CaSubject::default(),
            jwt_issuer: None,
            disable_jwt_svids: false,
        },
        admin_ids: vec![SpiffeId::parse("spiffe://ops.example/admin").unwrap(), id("/configured-admin")],
        agent_ttl: Duration::from_secs(3600),
        default_x509_svid_ttl: Duration::from_secs(3600),
        default_jwt_svid_ttl: Duration::from_secs(300),
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<TestClock>,
    _directory: Arc<TempDir>,
}

impl Server {
    pub(crate) async fn permit<R: Rpc>(&self, caller: &Caller) -> Permit<R> {
        self.services.authorizer.authorize::<R>(caller).await.unwrap()
    }

    pub(crate) async fn token(&self, agent_id: Option<SpiffeId>) -> String {
        let permit = self.permit::<rpc::CreateJoinToken>(&local()).await;
        let request = JoinTokenRequest { ttl: 600, token: None, agent_id };
        self.services.join_tokens.create(permit, request).await.unwrap().value.to_string()
    }

    pub(crate) async fn attest(&self, token: &str, csr: &[u8]) -> Result<AdmittedAgent, AdmissionError> {
        let permit = self.permit::<rpc::AttestAgent>(&anonymous()).await;
        let attestation = self.services.admission.begin(permit, "join_token", csr, None)?;
        match attestation.step(token.as_bytes()).await? {
            AttestationStep::Admitted(agent) => Ok(agent),
            AttestationStep::Challenge(..) => unreachable!("this attestor asks nothing"),
        }
    }

    /// An agent that joined with a token, and its ID.
    pub(crate) async fn agent(&self) -> (SpiffeId, Caller) {
        let token = self.token(None).await;
        let svid = self.attest(&token, &csr(&[])).await.unwrap().svid;
        (svid.id.clone(), self.caller(&svid))
    }

    pub(crate) async fn create(&self, entries: Vec<RegistrationEntry>) -> Vec<Arc<RegistrationEntry>> {
        let permit = self.permit::<rpc::BatchCreateEntry>(&local()).await;
        let results = self.services.registration.create(permit, entries).await.unwrap();
        results.into_iter().map(Result::unwrap).collect()
    }

    /// The caller who presents this SVID, after the checks that TLS makes.
    pub(crate) fn caller(&self, svid: &Recorded<IssuedSvid>) -> Caller {
        Caller::Svid { svid: Arc::new(self.verified(svid)), address: None }
    }

    /// A JWT-SVID for `/workload` and this audience, after its audit line.
    pub(crate) async fn jwt(&self, audience: &str, ttl: u64) -> Result<IssuedJwt, SignError> {
        let (id, audience) = (id("/workload"), [audience.to_owned()]);
        let leaf = JwtLeaf {
            spiffe_id: &id,
            audience: &audience,
            ttl: Duration::from_secs(ttl),
            not_after: None,
            include_jti: true,
        };
        let token = self.services.ca.sign_jwt(leaf).await?;
        let issue = Issue { actor: "test", purpose: "test", withhold_id: false };
        Ok(self.services.audit.record(issue, None, token).await.unwrap().into_inner())
    }

    /// What the journal says about a slot of this server.
    pub(crate) fn slot(&self, slot: SlotName) -> Option<Arc<JournalEntry>> {
        self.services.ledger.state().journal(self.services.ca.server_id(), slot)
    }

    pub(crate) fn clock_now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    pub(crate) fn verified(&self, svid: &IssuedSvid) -> VerifiedSvid {
        let parsed = X509Svid::parse(svid.chain.clone()).unwrap();
        let bundle = self.services.bundles.current();
        verify_chain(parsed, bundle.as_ref(), Purpose::Any, self.clock.now()).unwrap()
    }
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    trust_domain().with_path(path).unwrap()
}

pub(crate) fn local() -> Caller {
    Caller::Local(LocalPeer { pid: Some(1), uid: 0, gid: 0 })
}

pub(crate) fn anonymous() -> Caller {
    Caller::Anonymous { address: None }
}

/// A CSR by a new P-256 key that asks for these URI and DNS names.
pub(crate) fn csr(uris: &[&str]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["asked.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "spiffe://example.org/asked-as-name");
    for uri in uris {
        params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().unwrap()));
    }
    params.serialize_request(&key).unwrap().der().to_vec()
}

/// A CSR whose signature is not by its key.
pub(crate) fn forged_csr() -> Vec<u8> {
    let mut csr = csr(&[]);
    // The subject's text is under the signature; its length stays.
    let at = csr.windows(5).position(|window| window == b"asked").unwrap();
    csr[at] = b'A';
    csr
}

pub(crate) fn entry(path: &str, parent: &SpiffeId, selectors: &[&str]) -> RegistrationEntry {
    RegistrationEntry {
        id: String::new(),
        spiffe_id: id(path),
        parent_id: parent.clone(),
        selectors: selectors.iter().map(|text| Selector::parse(text).unwrap()).collect(),
        x509_svid_ttl: 0,
        jwt_svid_ttl: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: 0,
        dns_names: Vec::new(),
        revision_number: 0,
        store_svid: false,
        hint: String::new(),
        created_at: 0,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    }
}
