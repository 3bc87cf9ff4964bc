//! What TLS follows while the server runs.

use std::time::Duration;

use plastron_hsm::KeyType;
use plastron_hsm_soft::SoftStore;
use plastron_server_core::ServicesConfig;
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError};
use plastron_server_core::authorization::{Caller, LocalPeer};
use plastron_server_core::ca::{CaConfig, CaSubject};
use plastron_server_store::SqliteStore;
use plastron_spiffe::{SpiffeId, TrustDomain};

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
    administered(dir, "example.org", Vec::new()).await
}

async fn administered(dir: &Path, trust_domain: &str, admin_ids: Vec<SpiffeId>) -> Arc<Services> {
    let store = SqliteStore::open(&dir.join("store.sqlite3")).await.unwrap();
    let ledger = Ledger::open(Arc::new(store)).await.unwrap();
    let hour = Duration::from_secs(3600);
    let config = ServicesConfig {
        ca: CaConfig {
            trust_domain: TrustDomain::parse(trust_domain).unwrap(),
            key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            ttl: hour * 24,
            subject: CaSubject::default(),
            jwt_issuer: None,
            disable_jwt_svids: false,
        },
        admin_ids,
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

/// Of foreign trust domains, those of administrators are trusted, as long as their bundle is here.
#[tokio::test]
async fn administrators_of_a_foreign_trust_domain_are_trusted_by_its_bundle() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let admin = SpiffeId::parse("spiffe://ops.example/admin").unwrap();
    let services = administered(dirs[0].path(), "example.org", vec![admin]).await;
    let ops = self::administered(dirs[1].path(), "ops.example", Vec::new()).await.bundles.current();
    let others = self::administered(dirs[2].path(), "other.example", Vec::new()).await.bundles.current();
    let caller = Caller::Local(LocalPeer { pid: None, uid: 0, gid: 0 });
    let tls = Tls::new(&services).unwrap();
    let (bundles, ended) = (Arc::clone(&tls.bundles), CancellationToken::new());
    let following = tokio::spawn(tls.follow(Arc::clone(&services), ended.clone()));
    let trusts = async |wanted: bool| {
        for _ in 0..200 {
            if bundles.load().contains_key(&ops.trust_domain) == wanted {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        false
    };
    assert!(!bundles.load().contains_key(&ops.trust_domain));
    let permit = services.authorizer.authorize(&caller).await.unwrap();
    for bundle in [&ops, &others] {
        services.federation.set_bundle(&permit, bundle.as_ref().clone()).await.unwrap();
    }
    assert!(trusts(true).await, "its bundle came");
    assert!(!bundles.load().contains_key(&others.trust_domain), "nobody there administers");
    let permit = services.authorizer.authorize(&caller).await.unwrap();
    let mode = plastron_server_core::store::DeleteMode::Restrict;
    services.federation.delete_bundle(&permit, ops.trust_domain.clone(), mode).await.unwrap();
    assert!(trusts(false).await, "its bundle went");
    ended.cancel();
    following.await.unwrap();
}
