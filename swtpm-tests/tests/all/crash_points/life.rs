//! The life of a server's authorities, and what it leaves on the disk: first start, rotations of both kinds, an administrator's
//! preparation, activation, taint and revocation, and the end of what has expired.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_hsm::{KeyInventory, KeyType};
use plastron_hsm_soft::SoftStore;
use plastron_server_core::audit::Issue;
use plastron_server_core::authorization::{Caller, LocalPeer, Permit, Rpc, rpc};
use plastron_server_core::ca::{CaConfig, CaKeys, CaSubject, JwtLeaf, Leaf};
use plastron_server_core::clock::Clock;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::store::{Store, subject_key_id};
use plastron_server_core::{Services, ServicesConfig};
use plastron_server_store::SqliteStore;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, jwt};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};

use super::steps::{SteppedAudit, SteppedKeys, Steps};
use super::store::SteppedStore;

/// 2026-06-01.
const START: u64 = 1_780_272_000;
/// How long an authority lives.
pub(crate) const CA_TTL: u64 = 24 * 3600;
const AUDIENCE: &str = "relying-party";

/// The disk of a server.
pub(crate) struct Place(PathBuf);

/// A clock whose time outlives the process.
pub(crate) struct DiskClock {
    file: PathBuf,
    now: AtomicU64,
}

impl Clock for DiskClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.now.load(Ordering::SeqCst)))
    }
}

/// What somebody got.
pub(crate) struct Released {
    /// The authority that signed it.
    pub(crate) authority: String,
    /// Unix seconds.
    pub(crate) not_after: u64,
    /// What its audit line knows it by.
    pub(crate) identity: String,
    document: Document,
}

enum Document {
    X509(X509Svid),
    Jwt(String),
}

impl Released {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let [kind, authority, not_after, identity, document] = words.as_slice() else { panic!("{line}") };
        let document = match *kind {
            "x509" => Document::X509(X509Svid::parse(vec![hex::decode(document).unwrap()]).unwrap()),
            _ => Document::Jwt((*document).to_owned()),
        };
        let (authority, identity) = ((*authority).to_owned(), (*identity).to_owned());
        Self { authority, not_after: not_after.parse().unwrap(), identity, document }
    }

    /// Whether a relying party with this bundle takes it at this moment.
    pub(crate) fn is_trusted(&self, bundle: &Bundle, now: UnixTime) -> bool {
        match &self.document {
            Document::X509(svid) => verify_chain(svid.clone(), bundle, Purpose::Any, now).is_ok(),
            Document::Jwt(token) => jwt::validate(token, AUDIENCE, bundle, now).is_ok(),
        }
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    pub(crate) keys: Arc<dyn KeyInventory>,
    pub(crate) clock: Arc<DiskClock>,
    store: Arc<SqliteStore>,
    place: Place,
}

impl Place {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn steps_file(&self) -> PathBuf {
        self.0.join("steps")
    }

    /// The names of the calls that the last life made.
    pub(crate) fn steps(&self) -> Vec<String> {
        fs::read_to_string(self.steps_file()).unwrap().lines().map(str::to_owned).collect()
    }

    pub(crate) fn audit(&self) -> String {
        fs::read_to_string(self.0.join("audit")).unwrap_or_default()
    }

    /// Everything that anybody got.
    pub(crate) fn released(&self) -> Vec<Released> {
        let text = fs::read_to_string(self.0.join("released")).unwrap_or_default();
        text.lines().map(Released::parse).collect()
    }

    /// The authorities that an administrator wanted to be trusted no more.
    pub(crate) fn revoked(&self) -> String {
        fs::read_to_string(self.0.join("revoked")).unwrap_or_default()
    }

    fn append(&self, file: &str, line: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.0.join(file)).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    /// Starts the server on what is there.
    pub(crate) async fn start(&self, steps: Arc<Steps>) -> Server {
        let file = self.0.join("clock");
        let now = fs::read_to_string(&file).ok().map_or(START, |text| text.parse().unwrap());
        let clock = Arc::new(DiskClock { file, now: AtomicU64::new(now) });
        let store = Arc::new(SqliteStore::open(&self.0.join("data/datastore.sqlite3")).await.unwrap());
        let inner: Arc<dyn KeyInventory> = Arc::new(SoftStore::on_disk(&self.0.join("keys")).unwrap());
        let keys = Arc::new(SteppedKeys { inner: Arc::clone(&inner), steps: Arc::clone(&steps) });
        let stepped = SteppedStore { inner: Arc::clone(&store) as Arc<dyn Store>, steps: Arc::clone(&steps) };
        let audit = OpenOptions::new().create(true).append(true).open(self.0.join("audit")).unwrap();
        let audit = Arc::new(SteppedAudit { file: Mutex::new(audit), steps });
        let ledger = Ledger::open(Arc::new(stepped)).await.unwrap();
        let keys = CaKeys::destructible(keys);
        let services =
            Services::start(config(), ledger, keys, Vec::new(), Arc::clone(&clock) as _, audit).await.unwrap();
        Server { services, keys: inner, clock, store, place: Self(self.0.clone()) }
    }
}

impl Server {
    /// An X.509-SVID and a JWT-SVID for somebody, by authorities that the bundle in the store has.
    pub(crate) async fn release(&self) {
        let (key, id) = (KeyPair::generate().unwrap(), id("/workload"));
        let leaf = Leaf {
            spiffe_id: &id,
            public_key: &key.subject_public_key_info(),
            subject: None,
            dns_names: &[],
            ttl: Duration::from_secs(CA_TTL),
            not_after: None,
        };
        let issue = Issue { actor: "test", purpose: "workload", withhold_id: false };
        let signed = self.services.ca.sign(leaf).await.unwrap();
        let svid = self.services.audit.record(issue, None, signed).await.unwrap().into_inner();
        let audience = [AUDIENCE.to_owned()];
        let ttl = Duration::from_secs(CA_TTL);
        let leaf = JwtLeaf { spiffe_id: &id, audience: &audience, ttl, not_after: None, include_jti: false };
        let signed = self.services.ca.sign_jwt(leaf).await.unwrap();
        let jwt = self.services.audit.record(issue, None, signed).await.unwrap().into_inner();

        let bundle = self.bundle().await;
        let (serial, end, hex) = (svid.serial.to_decimal(), svid.not_after, hex::encode(&svid.chain[0]));
        let hash = hex::encode(Sha256::digest(&jwt.token));
        let x509 = format!("x509 {} {end} {serial} {hex}", svid.authority_id);
        let jwt = format!("jwt {} {} {hash} {}", jwt.key_id, jwt.expires_at, jwt.token);
        for line in [x509, jwt] {
            let released = Released::parse(&line);
            assert!(released.is_trusted(&bundle, self.clock.now()), "signed by an authority that the bundle has not");
            let tainted = bundle.x509_authorities.iter().filter(|authority| authority.tainted);
            let tainted = tainted.filter_map(|authority| subject_key_id(&authority.certificate));
            assert!(!tainted.into_iter().any(|id| id == released.authority), "signed by a tainted authority");
            self.place.append("released", &line);
        }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        let now = self.clock.now.load(Ordering::SeqCst) + seconds;
        fs::write(&self.clock.file, now.to_string()).unwrap();
        self.clock.now.store(now, Ordering::SeqCst);
    }

    pub(crate) async fn bundle(&self) -> Bundle {
        self.store.load().await.unwrap().bundle.unwrap()
    }

    /// Half of an authority's life passes, and the next one is prepared; the rest, and it signs.
    pub(crate) async fn turn(&self) {
        self.advance(CA_TTL / 2 + 60);
        self.services.rotate().await;
        self.release().await;
        self.advance(CA_TTL / 3);
        self.services.rotate().await;
        self.release().await;
    }

    async fn permit<R: Rpc>(&self) -> Permit<R> {
        let caller = Caller::Local(LocalPeer { pid: Some(1), uid: 0, gid: 0 });
        self.services.authorizer.authorize::<R>(&caller).await.unwrap()
    }

    /// An administrator replaces both authorities before their time, and has the old ones trusted no more.
    async fn replace(&self) {
        let authorities = &self.services.local_authorities;
        let next = authorities.prepare_x509(self.permit().await).await.unwrap().authority_id;
        self.release().await;
        authorities.activate_x509(self.permit().await, &next).await.unwrap();
        self.release().await;
        let state = authorities.x509_state(self.permit::<rpc::GetX509AuthorityState>().await).unwrap();
        let old = state.old.unwrap().authority_id;
        authorities.taint_x509(self.permit().await, &old).await.unwrap();
        self.services.rotate().await;
        self.release().await;
        self.place.append("revoked", &old);
        authorities.revoke_x509(self.permit().await, &old).await.unwrap();
        self.services.rotate().await;
        self.release().await;

        let next = authorities.prepare_jwt(self.permit().await).await.unwrap().authority_id;
        authorities.activate_jwt(self.permit().await, &next).await.unwrap();
        self.release().await;
        let state = authorities.jwt_state(self.permit::<rpc::GetJwtAuthorityState>().await).unwrap();
        let old = state.old.unwrap().authority_id;
        authorities.taint_jwt(self.permit().await, &old).await.unwrap();
        self.place.append("revoked", &old);
        authorities.revoke_jwt(self.permit().await, &old).await.unwrap();
        self.services.rotate().await;
        self.release().await;
    }

    /// A whole life.
    pub(crate) async fn live(&self) {
        self.release().await;
        self.turn().await;
        self.turn().await;
        self.replace().await;
        // Long enough for what signed first to leave the bundle.
        self.turn().await;
        self.turn().await;
        self.services.prune().await;
        self.services.ca.leave().await.unwrap();
    }
}

fn config() -> ServicesConfig {
    ServicesConfig {
        ca: CaConfig {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            ttl: Duration::from_secs(CA_TTL),
            subject: CaSubject::default(),
            jwt_issuer: None,
            disable_jwt_svids: false,
        },
        admin_ids: Vec::new(),
        agent_ttl: Duration::from_secs(3600),
        default_x509_svid_ttl: Duration::from_secs(3600),
        default_jwt_svid_ttl: Duration::from_secs(300),
    }
}

fn id(path: &str) -> SpiffeId {
    TrustDomain::parse("example.org").unwrap().with_path(path).unwrap()
}
