//! The CA's life: what a crash, a lost key, a swapped key or a failing store leave behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plastron_hsm_soft::SoftStore;
use plastron_server_core::StartError;
use plastron_server_core::authority::AuthorityError;
use plastron_server_core::authorization::rpc;
use plastron_server_core::ca::{CaError, CaKeys, JwtLeaf, Leaf, SignError};
use plastron_server_core::ledger::Ledger;
use plastron_server_core::store::{SlotName, SlotStatus};

use crate::faults::{FaultyStore, ForeignSignatures, SlowKeys, Step, SwappedKeys, TurncoatKeys};
use crate::fixture::{CA_TTL, Disk, csr, id, local};

#[tokio::test]
async fn a_restart_goes_on_with_the_same_authority() {
    let disk = Disk::new();
    let first = disk.start().await.unwrap().services;
    let second = disk.start().await.unwrap().services;
    assert_eq!(first.ca.authority().authority_id(), second.ca.authority().authority_id());
    assert_eq!(second.bundles.current().x509_authorities.len(), 1);
}

#[tokio::test]
async fn a_lost_key_is_replaced_and_what_it_signed_stays_trusted() {
    let mut disk = Disk::new();
    let server = disk.start().await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    disk.keys = Arc::new(SoftStore::in_memory("empty"));
    let server = disk.start().await.unwrap();
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 2);
    server.verified(&svid);
    server.permit::<rpc::GetAuthorizedEntries>(&server.caller(&svid)).await;
}

#[tokio::test]
async fn a_key_that_was_swapped_is_refused() {
    let mut disk = Disk::new();
    disk.start().await.unwrap();
    disk.keys = Arc::new(SwappedKeys(Arc::clone(&disk.keys)));
    let Err(StartError::Ca(CaError::Authority(error))) = disk.start().await else { unreachable!("it must not start") };
    assert!(matches!(error, AuthorityError::KeyChanged { slot: SlotName::X509CaA, .. }), "{error}");
}

#[tokio::test]
async fn a_key_store_that_signs_with_another_key_is_refused() {
    let mut disk = Disk::new();
    disk.start().await.unwrap();
    disk.keys = Arc::new(ForeignSignatures(Arc::clone(&disk.keys)));
    let Err(StartError::Ca(CaError::Authority(error))) = disk.start().await else { unreachable!("it must not start") };
    assert!(matches!(error, AuthorityError::BadSignature { slot: SlotName::X509CaA }), "{error}");
}

/// Killed in the last second of its CA's life, before the next one signed: the CA is still valid, and nothing that it could sign would be.
///
/// Threat 50
#[tokio::test]
async fn a_server_that_starts_in_the_last_second_of_its_ca_goes_on_with_the_next() {
    let disk = Disk::new();
    let before = disk.start().await.unwrap().services.ca.authority().authority_id().to_owned();
    disk.clock.advance(CA_TTL);
    let server = disk.start().await.unwrap();
    assert_ne!(server.services.ca.authority().authority_id(), before);
}

/// Threat 53: the handle of the CA's key comes to mean another key while the server runs, and the token says nothing. What that one signed
/// is for nobody, X.509 and JWT, and the server goes on once the right key is back.
#[tokio::test]
async fn what_another_key_signed_under_the_same_handle_is_not_handed_out() {
    let mut disk = Disk::new();
    let keys = TurncoatKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let (spiffe_id, audience) = (id("/workload"), ["relying-party".to_owned()]);
    let public_key = disk.keys.generate("workload", plastron_hsm::KeyType::EcP256).await.unwrap().public_key;
    let ttl = Duration::from_secs(60);
    let leaf =
        Leaf { spiffe_id: &spiffe_id, public_key: &public_key, subject: None, dns_names: &[], ttl, not_after: None };
    let jwt = JwtLeaf { spiffe_id: &spiffe_id, audience: &audience, ttl, not_after: None, include_jti: false };
    for turned in [false, true, false] {
        keys.turned.store(turned, Ordering::SeqCst);
        let (x509, jwt) = (server.services.ca.sign(leaf).await, server.services.ca.sign_jwt(jwt).await);
        if !turned {
            assert!(x509.is_ok() && jwt.is_ok());
            continue;
        }
        let refused = |error| match error {
            SignError::Authority(AuthorityError::ForeignSignature { slot }) => slot,
            other => unreachable!("{other}"),
        };
        assert_eq!(refused(x509.unwrap_err()), SlotName::X509CaA);
        assert_eq!(refused(jwt.unwrap_err()), SlotName::JwtSignerA);
        server.services.health.check().await.unwrap_err();
    }
}

/// Threat 50: the store fails when the authority is to be published, so the key signs its own certificate and nothing else.
#[tokio::test]
async fn an_unpublished_authority_signs_nothing() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let store = FaultyStore::over(disk.store().await, Step::Prepare, 1);
    let Err(StartError::Ca(error)) = disk.start_on(store).await else { unreachable!("it must not start") };
    assert!(matches!(error, CaError::Store { step: "publish the authority", .. }), "{error}");
    let signers = keys.signers();
    assert_eq!(signers.len(), 1, "the certificate's own signature");
    let server = disk.start().await.unwrap();
    assert_ne!(server.services.ca.authority().key_id(), signers.first().unwrap(), "that key is never used");
    assert_eq!(keys.signatures(signers.first().unwrap()), 1);
}

/// Threat 50: the journal says active, and the bundle does not have the certificate. That key is not used again.
#[tokio::test]
async fn an_active_authority_that_the_bundle_lost_signs_nothing() {
    let mut disk = Disk::new();
    let lost = disk.start().await.unwrap().services.ca.authority().key_id().clone();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start_on(FaultyStore::over(disk.store().await, Step::LoadBundle, 1)).await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.verified(&svid);
    assert_eq!(keys.signatures(&lost), 0);
}

/// Threat 50: published, but not yet active when the server stopped. The next start goes on with that very authority.
#[tokio::test]
async fn a_prepared_authority_is_activated_at_the_next_start() {
    let disk = Disk::new();
    let store = FaultyStore::over(disk.store().await, Step::Activate, 1);
    let Err(StartError::Ca(error)) = disk.start_on(store).await else { unreachable!("it must not start") };
    assert!(matches!(error, CaError::Store { step: "activate the slot", .. }), "{error}");
    let journals = Ledger::open(disk.store().await).await.unwrap().state().journals();
    let prepared = journals.into_iter().find(|entry| entry.slot == SlotName::X509CaA).unwrap();
    assert_eq!(prepared.status, SlotStatus::Prepared);
    let server = disk.start().await.unwrap();
    assert_eq!(server.services.ca.authority().key_id(), &prepared.key_id);
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 1);
    let active = server.slot(SlotName::X509CaA).unwrap();
    assert_eq!(active.status, SlotStatus::Active);
}

/// Threat 50: a rotation whose publication fails leaves the old authority at work; the next attempt succeeds.
#[tokio::test]
async fn a_failed_rotation_leaves_the_old_authority() {
    let disk = Disk::new();
    drop(disk.start().await.unwrap());
    let server = disk.start_on(FaultyStore::over(disk.store().await, Step::Prepare, 1)).await.unwrap();
    let old = server.services.ca.authority();
    server.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    assert!(matches!(server.services.ca.rotate_if_due().await, Err(CaError::Store { .. })));
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.verified(&svid);
    assert_eq!(server.services.ca.authority().key_id(), old.key_id());
    assert!(server.services.ca.rotate_if_due().await.unwrap());
    assert_ne!(server.services.ca.authority().key_id(), old.key_id());
}

#[tokio::test]
async fn an_authority_near_its_end_is_replaced_in_the_other_slot() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    assert!(!server.services.ca.rotate_if_due().await.unwrap());
    server.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    server.services.rotate().await;
    assert_eq!(server.services.ca.authority().slot(), SlotName::X509CaB);
    assert_eq!(server.slot(SlotName::X509CaA).unwrap().status, SlotStatus::Old);
    assert_eq!(server.slot(SlotName::X509CaB).unwrap().status, SlotStatus::Active);
    let bundle = server.services.bundles.current();
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len(), bundle.sequence_number), (2, 2, 4));
    assert!(svid.not_after < server.clock_now(), "agents renewed long before");
}

/// Everyone has the next authority in the bundle long before it signs, and a restart in between changes nothing.
#[tokio::test]
async fn the_next_authority_is_prepared_at_half_life_and_waits() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let old = server.services.ca.authority().authority_id().to_owned();
    server.clock.advance(CA_TTL / 2 + 1);
    assert!(!server.services.ca.rotate_if_due().await.unwrap());
    assert!(!server.services.ca.rotate_if_due().await.unwrap(), "one is enough");
    let server = disk.start().await.unwrap();
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 2);
    assert_eq!(server.services.ca.authority().authority_id(), old);
    let prepared = server.slot(SlotName::X509CaB).unwrap();
    assert_eq!(prepared.status, SlotStatus::Prepared);
    server.clock.advance(CA_TTL / 3);
    assert!(server.services.ca.rotate_if_due().await.unwrap());
    assert_eq!(server.services.ca.authority().key_id(), &prepared.key_id);
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 2);
}

/// A server that was down for longer than its CA lives starts without a manual step.
#[tokio::test]
async fn an_expired_authority_is_replaced_at_start() {
    let disk = Disk::new();
    drop(disk.start().await.unwrap());
    disk.clock.advance(2 * CA_TTL);
    let server = disk.start().await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.verified(&svid);
    server.services.health.check().await.unwrap();
}

/// Readiness is a real signature, and asking often does not keep the key store busy.
#[tokio::test]
async fn health_is_a_signature_now_and_then() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let key = server.services.ca.authority().key_id().clone();
    let before = keys.signatures(&key);
    for _ in 0..20 {
        server.services.health.check().await.unwrap();
    }
    assert_eq!(keys.signatures(&key) - before, 1);
    server.clock.advance(5);
    server.services.health.check().await.unwrap();
    assert_eq!(keys.signatures(&key) - before, 2);
}

#[tokio::test]
async fn the_servers_own_svid_rotates_at_half_life() {
    let server = Disk::new().start().await.unwrap();
    let watch = server.services.server_svid.subscribe();
    let first = Arc::clone(&watch.borrow());
    assert_eq!(first.id.path(), "/spire/server");
    server.clock.advance(1700);
    assert!(!server.services.server_svid.rotate_if_due().await.unwrap());
    server.clock.advance(200);
    assert!(server.services.server_svid.rotate_if_due().await.unwrap());
    let second = Arc::clone(&watch.borrow());
    assert_ne!(*first.private_key, *second.private_key, "a new key each time");
    assert!(!format!("{second:?}").contains("private"), "the key is not shown");
}

#[tokio::test]
async fn another_trust_domains_store_is_refused() {
    let disk = Disk::new();
    drop(disk.start().await.unwrap());
    let mut config = crate::fixture::config();
    config.ca.trust_domain = plastron_spiffe::TrustDomain::parse("other.example").unwrap();
    let ledger = Ledger::open(disk.store().await).await.unwrap();
    let clock = Arc::clone(&disk.clock) as _;
    let (keys, audit) = (CaKeys::kept(Arc::clone(&disk.keys)), Arc::clone(&disk.audit) as _);
    let started = plastron_server_core::Services::start(config, ledger, keys, vec![], clock, audit).await;
    assert!(matches!(started.err().unwrap(), StartError::Ca(CaError::OtherTrustDomain { .. })));
}

#[tokio::test]
async fn an_svid_ends_with_its_authority() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let mut long = crate::fixture::entry("/long", &agent, &["unix:uid:1"]);
    long.x509_svid_ttl = u32::try_from(10 * CA_TTL).unwrap();
    let created = server.create(vec![long]).await;
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let request = plastron_server_core::issuance::SvidRequest {
        entry_id: created.first().unwrap().id.clone(),
        csr: csr(&["spiffe://example.org/long"]),
    };
    let results = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
    let svid = results.into_iter().next().unwrap().unwrap();
    assert_eq!(svid.not_after, server.services.ca.authority().not_after());
    let permit = server.permit::<rpc::CountAgents>(&local()).await;
    assert_eq!(server.services.nodes.count(permit, &Default::default()), 1);
}
