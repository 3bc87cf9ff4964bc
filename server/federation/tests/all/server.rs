//! The services of a server in a temporary directory, and what an administrator does with them.

use std::sync::Arc;
use std::time::Duration;

use plastron_hsm::KeyType;
use plastron_hsm_soft::SoftStore;
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError};
use plastron_server_core::authorization::{Caller, LocalPeer, Permit, Rpc, rpc};
use plastron_server_core::ca::{CaConfig, CaKeys, CaSubject};
use plastron_server_core::clock::SystemClock;
use plastron_server_core::ledger::Ledger;
use plastron_server_core::{Services, ServicesConfig};
use plastron_server_federation::{BundleClient, WebRootsNow};
use plastron_server_store::SqliteStore;
use plastron_spiffe::{Bundle, EndpointProfile, FederationRelationship, TrustDomain};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;
use crate::pki::{Ca, SERVER, id, other};

/// Less than the pause after which a fetch is tried again anyway, more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(45);

struct Unheard;

#[async_trait::async_trait]
impl AuditSink for Unheard {
    async fn write(&self, _lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        Ok(())
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        Ok(())
    }
}

pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    _dir: tempfile::TempDir,
    _end: tokio_util::sync::DropGuard,
}

impl Server {
    /// With these relationships of its configuration, and the roots of this CA.
    pub(crate) async fn start(configured: Vec<FederationRelationship>, web: &Ca) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("store.sqlite3")).await.unwrap();
        let hour = Duration::from_secs(3600);
        let config = ServicesConfig {
            ca: CaConfig {
                trust_domain: TrustDomain::parse("example.org").unwrap(),
                key_type: KeyType::EcP256,
                jwt_key_type: KeyType::EcP256,
                ttl: hour * 24,
                subject: CaSubject::default(),
                jwt_issuer: None,
                disable_jwt_svids: false,
            },
            admin_ids: Vec::new(),
            agent_ttl: hour,
            default_x509_svid_ttl: hour,
            default_jwt_svid_ttl: Duration::from_secs(300),
        };
        let keys = CaKeys::kept(Arc::new(SoftStore::in_memory("test")));
        let ledger = Ledger::open(Arc::new(store)).await.unwrap();
        let services = Services::start(config, ledger, keys, Vec::new(), Arc::new(SystemClock), Arc::new(Unheard));
        let (services, roots) = (services.await.unwrap(), web.roots());
        let roots: WebRootsNow = Arc::new(move || Ok(roots.clone()));
        let client = BundleClient::new(Arc::clone(&services), configured, roots);
        services.federation.set_refresher(Arc::clone(&client) as Arc<_>);
        let ended = CancellationToken::new();
        tokio::spawn(client.run(ended.clone()));
        Self { services, _dir: dir, _end: ended.drop_guard() }
    }

    pub(crate) async fn permit<R: Rpc>(&self) -> Permit<R> {
        let peer = LocalPeer { pid: Some(1), uid: 0, gid: 0 };
        self.services.authorizer.authorize(&Caller::Local(peer)).await.unwrap()
    }

    pub(crate) async fn create(&self, relationship: FederationRelationship, bundle: Option<Bundle>) {
        let permit = self.permit::<rpc::BatchCreateFederationRelationship>().await;
        self.services.federation.create_relationship(&permit, relationship, bundle).await.unwrap();
    }

    pub(crate) async fn set(&self, bundle: Bundle) {
        let permit = self.permit::<rpc::BatchSetFederatedBundle>().await;
        self.services.federation.set_bundle(&permit, bundle).await.unwrap();
    }

    /// RefreshBundle: what it says with its causes, or nothing.
    pub(crate) async fn refresh(&self) -> Option<String> {
        let permit = self.permit::<rpc::RefreshBundle>().await;
        let error = self.services.federation.refresh(permit, &other()).await.err()?;
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        Some(format!("{error}: {cause}"))
    }

    pub(crate) fn bundle(&self) -> Option<Arc<Bundle>> {
        self.services.federation.bundle(&other())
    }

    /// Waits until the kept bundle is of this sequence.
    pub(crate) async fn until(&self, sequence: u64) -> Arc<Bundle> {
        let mut changes = self.services.federation.changes();
        let kept = async {
            loop {
                match self.bundle() {
                    Some(bundle) if bundle.sequence_number == sequence => return bundle,
                    _ => changes.changed().await.unwrap(),
                }
            }
        };
        tokio::time::timeout(PATIENCE, kept).await.unwrap()
    }
}

pub(crate) fn by_id(fake: &Fake) -> FederationRelationship {
    FederationRelationship {
        trust_domain: other(),
        bundle_endpoint_url: fake.url("127.0.0.1", "/"),
        profile: EndpointProfile::HttpsSpiffe { id: id(SERVER) },
    }
}

pub(crate) fn by_name(fake: &Fake) -> FederationRelationship {
    FederationRelationship {
        trust_domain: other(),
        bundle_endpoint_url: fake.url("localhost", "/"),
        profile: EndpointProfile::HttpsWeb,
    }
}
