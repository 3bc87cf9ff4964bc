//! What TLS follows while the server runs.

use std::time::Duration;

use plastron_hsm::KeyType;
use plastron_hsm_soft::SoftStore;
use plastron_server_core::ServicesConfig;
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError};
use plastron_server_core::authorization::{Caller, LocalPeer};
use plastron_server_core::ca::{CaConfig, CaSubject};
use plastron_server_store::SqliteStore;
use plastron_spiffe::TrustDomain;

use super::*;

/// An audit log that takes every line and keeps none.
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

/// Services with an empty store; the listeners are not needed here.
async fn services(dir: &Path) -> Arc<Services> {
    let store = SqliteStore::open(&dir.join("store.sqlite3")).await.unwrap();
    let ledger = Ledger::open(Arc::new(store)).await.unwrap();
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
    Services::start(
        config,
        ledger,
        CaKeys::kept(Arc::new(SoftStore::in_memory("test"))),
        Vec::new(),
        Arc::new(SystemClock),
        Arc::new(Unheard),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_bundle_that_came_before_anyone_followed_is_trusted() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let services = services(dir.path()).await;
    let tls = Tls::new(&services).unwrap();
    let authority = self::services(other.path()).await.bundles.current().x509_authorities.clone();

    let caller = Caller::Local(LocalPeer { pid: None, uid: 0, gid: 0 });
    let permit = services.authorizer.authorize(&caller).await.unwrap();
    services.bundles.append(permit, authority, Vec::new()).await.unwrap();

    let (bundles, ended) = (Arc::clone(&tls.bundles), CancellationToken::new());
    let trusted = || bundles.load().values().map(|bundle| bundle.x509_authorities.len()).sum::<usize>();
    assert_eq!(trusted(), 1, "no one has followed yet");
    let following = tokio::spawn(tls.follow(Arc::clone(&services), ended.clone()));
    for _ in 0..200 {
        if trusted() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    ended.cancel();
    following.await.unwrap();
    assert_eq!(trusted(), 2);
}
