//! Authorities of both kinds and every key type; and what a wrong clock, a lost store or a lost key leaves behind.

use std::sync::Arc;
use std::time::Duration;

use plastron_hsm::{KeyInventory as _, KeyType};
use plastron_hsm_soft::SoftStore;
use plastron_server_core::authority::{
    AcknowledgedAuthority, AuthorityError, JwtUse, MatchedKey, PublishedAuthority, SigningAuthority, X509Use,
};
use plastron_server_core::ca::SignError;
use plastron_server_core::store::{AuthoritySet, SlotName, SlotStatus};
use plastron_spiffe::jwt::{UnverifiedJwt, validate};
use rustls_pki_types::UnixTime;

use crate::faults::SlowKeys;
use crate::fixture::{CA_TTL, Disk, START, Server, csr};

fn now(server: &Server) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(server.clock_now()))
}

async fn issues_both(server: &Server) {
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.verified(&svid);
    let token = server.jwt("db", 300).await.unwrap().token;
    validate(&token, "db", server.services.bundles.current().as_ref(), now(server)).unwrap();
}

/// SPIRE's algorithms: RS256 for RSA of any size.
#[tokio::test]
async fn keys_of_every_type_sign_what_the_bundle_verifies() {
    for (key_type, algorithm) in [
        (KeyType::EcP256, "ES256"),
        (KeyType::EcP384, "ES384"),
        (KeyType::Rsa2048, "RS256"),
        (KeyType::Rsa4096, "RS256"),
    ] {
        let mut disk = Disk::new();
        (disk.config.ca.key_type, disk.config.ca.jwt_key_type) = (key_type, key_type);
        let server = disk.start().await.unwrap();
        issues_both(&server).await;
        assert_eq!(server.services.ca.jwt_authority().unwrap().algorithm().as_str(), algorithm);
        server.services.ca.probe().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_names_its_key_and_ends_with_it() {
    let mut disk = Disk::new();
    disk.config.ca.jwt_issuer = Some("https://issuer.example".to_owned());
    let server = disk.start().await.unwrap();
    let key = server.services.ca.jwt_authority().unwrap();
    assert!(key.authority_id().len() == 32 && key.authority_id().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let issued = server.jwt("db", 10 * CA_TTL).await.unwrap();
    assert_eq!((issued.issued_at, issued.expires_at), (START, key.not_after()));
    let svid = validate(&issued.token, "db", server.services.bundles.current().as_ref(), now(&server)).unwrap();
    assert_eq!((svid.key_id(), svid.expires_at()), (key.authority_id(), issued.expires_at));
    assert_eq!(svid.claims().get("iss").unwrap(), "https://issuer.example");
    assert_eq!(svid.claims().get("jti").unwrap().as_str(), issued.jti.as_deref());
    let published = server.services.bundles.current().jwt_authorities.first().unwrap().expires_at;
    assert_eq!(published, i64::try_from(START + CA_TTL).unwrap());
    assert!(UnverifiedJwt::parse(&issued.token).is_ok());
    assert!(!format!("{issued:?}").contains(&issued.token), "a token is not shown");
}

#[tokio::test]
async fn without_jwt_svids_there_is_no_jwt_key() {
    let mut disk = Disk::new();
    disk.config.ca.disable_jwt_svids = true;
    let server = disk.start().await.unwrap();
    assert!(matches!(server.jwt("db", 300).await, Err(SignError::JwtDisabled)));
    assert!(server.services.bundles.current().jwt_authorities.is_empty());
    assert!(SlotName::ALL.into_iter().all(|slot| slot == SlotName::X509CaA || server.slot(slot).is_none()));
}

/// JWT keys turn at the same points as CAs, and what the old one signed stays valid.
#[tokio::test]
async fn jwt_keys_are_prepared_at_half_life_and_activated_near_the_end() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let first = server.services.ca.jwt_authority().unwrap().authority_id().to_owned();
    server.clock.advance(CA_TTL / 2 + 1);
    server.services.rotate().await;
    assert_eq!(server.services.bundles.current().jwt_authorities.len(), 2);
    assert_eq!(server.services.ca.jwt_authority().unwrap().authority_id(), first);
    let server = disk.start().await.unwrap();
    let token = server.jwt("db", 300).await.unwrap();
    assert_eq!(*token.key_id, *first);
    server.clock.advance(CA_TTL / 3);
    server.services.rotate().await;
    let second = server.jwt("db", 300).await.unwrap();
    assert_eq!(server.slot(SlotName::JwtSignerB).unwrap().authority_id().as_deref(), Some(&*second.key_id));
    assert_eq!(server.slot(SlotName::JwtSignerA).unwrap().status, SlotStatus::Old);
    let kept = server.services.bundles.current();
    assert!(kept.jwt_authorities.iter().any(|key| key.key_id == first), "agents may still have tokens of it");
}

/// Threat 49: thirty days off, and everything has expired. No manual step, and nothing is signed by what has expired.
#[tokio::test]
async fn a_server_that_was_off_for_a_month_starts_with_new_authorities() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (x509, jwt) = (server.services.ca.authority(), server.services.ca.jwt_authority().unwrap());
    drop(server);
    disk.clock.advance(30 * 24 * 3600);
    let server = disk.start().await.unwrap();
    assert_ne!(server.services.ca.authority().authority_id(), x509.authority_id());
    assert_ne!(server.services.ca.jwt_authority().unwrap().authority_id(), jwt.authority_id());
    issues_both(&server).await;
}

/// Threat 56: the clock was ahead when the CA was made. By the right clock it is not valid yet: nobody would accept what it signs.
#[tokio::test]
async fn an_authority_of_the_future_is_replaced_at_once() {
    let disk = Disk::new();
    disk.clock.advance(10 * CA_TTL);
    let server = disk.start().await.unwrap();
    let ahead = server.services.ca.authority().authority_id().to_owned();
    server.clock.go_back(10 * CA_TTL);
    server.services.rotate().await;
    assert_ne!(server.services.ca.authority().authority_id(), ahead);
    issues_both(&server).await;
    let own = Arc::clone(&server.services.server_svid.subscribe().borrow());
    assert!(own.not_before <= server.clock_now(), "the server shows an SVID that is valid now");
    // The same while it was off.
    server.clock.go_back(10 * CA_TTL);
    let server = disk.start().await.unwrap();
    issues_both(&server).await;
    // And when the clock is set right again, what was made meanwhile has expired.
    server.clock.advance(20 * CA_TTL);
    server.services.rotate().await;
    issues_both(&server).await;
}

/// Threat 56: a clock that is ahead for a moment takes nothing out of the bundle that another server signs with.
#[tokio::test]
async fn a_clock_that_is_ahead_for_a_moment_costs_no_authority() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.clock.advance(10 * CA_TTL);
    server.services.rotate().await;
    server.services.prune().await;
    server.clock.go_back(10 * CA_TTL);
    server.services.rotate().await;
    server.verified(&svid);
    issues_both(&server).await;
}

/// The store is gone and the keys are still there: a new trust root, and whoever looks finds what is left.
#[tokio::test]
async fn keys_of_a_lost_store_are_named_and_not_used() {
    let keys = Arc::new(SoftStore::in_memory("test"));
    let old = Disk { keys: Arc::clone(&keys) as _, inventory: Some(Arc::clone(&keys) as _), ..Disk::new() };
    let lost = old.start().await.unwrap().services.ca.authority().key_id().clone();
    let new = Disk { keys: Arc::clone(&keys) as _, inventory: Some(Arc::clone(&keys) as _), ..Disk::new() };
    let server = new.start().await.unwrap();
    assert_ne!(*server.services.ca.authority().key_id(), lost);
    let orphans = server.services.ca.orphans().await.unwrap().unwrap();
    assert_eq!(orphans.len(), 2, "the CA's and the JWT key");
    assert!(orphans.iter().any(|key| key.id == lost));
    issues_both(&server).await;
}

/// Threat 50: an authority that is tainted while it is active signs nothing from that moment on, and is replaced.
#[tokio::test]
async fn an_active_authority_that_gets_tainted_signs_nothing_more() {
    let server = Disk::new().start().await.unwrap();
    let (x509, jwt) = (server.slot(SlotName::X509CaA).unwrap(), server.slot(SlotName::JwtSignerA).unwrap());
    let set =
        AuthoritySet { x509: vec![x509.ca().unwrap().certificate.clone()], jwt: vec![jwt.authority_id().unwrap()] };
    server.store.taint_authorities(set).await.unwrap();
    server.services.ledger.catch_up().await.unwrap();
    assert!(matches!(server.jwt("db", 300).await, Err(SignError::Authority(_))));
    let refused = server.attest(&server.token(None).await, &csr(&[])).await.unwrap_err();
    assert!(format!("{refused:?}").contains("Unpublished"), "{refused:?}");
    let before = Arc::clone(&server.services.server_svid.subscribe().borrow());
    server.services.rotate().await;
    issues_both(&server).await;
    let own = Arc::clone(&server.services.server_svid.subscribe().borrow());
    assert_ne!(own.anchor_id, before.anchor_id, "the server's own SVID hangs from the new one");
    assert_eq!(server.slot(SlotName::X509CaB).unwrap().status, SlotStatus::Active);
}

/// A token that was wiped under a running server: what it signed stays trusted, and it signs again at the next tick.
#[tokio::test]
async fn a_key_that_is_lost_while_the_server_runs_is_replaced() {
    let keys = Arc::new(SoftStore::in_memory("test"));
    let disk = Disk { keys: Arc::clone(&keys) as _, inventory: Some(Arc::clone(&keys) as _), ..Disk::new() };
    let server = disk.start().await.unwrap();
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    for key in keys.list().await.unwrap() {
        keys.destroy(&key.id).await.unwrap();
    }
    assert!(matches!(server.jwt("db", 300).await, Err(SignError::KeyStore(_))));
    server.services.rotate().await;
    issues_both(&server).await;
    server.verified(&svid);
}

/// Threat 50: a key store that is slow does not hand out what its authority lost meanwhile.
#[tokio::test]
async fn what_was_signed_while_its_authority_was_tainted_is_not_handed_out() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = Arc::new(disk.start().await.unwrap());
    let (x509, jwt) = (server.slot(SlotName::X509CaA).unwrap(), server.slot(SlotName::JwtSignerA).unwrap());
    let token = server.token(None).await;
    let gate = keys.hold();
    let leaf = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.attest(&token, &csr(&[])).await })
    };
    keys.somebody_waits().await;
    let jwt_svid = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.jwt("db", 300).await })
    };
    keys.somebody_waits().await;
    let set =
        AuthoritySet { x509: vec![x509.ca().unwrap().certificate.clone()], jwt: vec![jwt.authority_id().unwrap()] };
    server.store.taint_authorities(set).await.unwrap();
    server.services.ledger.catch_up().await.unwrap();
    drop(gate);
    assert!(matches!(jwt_svid.await.unwrap(), Err(SignError::Authority(_))));
    let refused = leaf.await.unwrap().unwrap_err();
    assert!(format!("{refused:?}").contains("Unpublished"), "{refused:?}");
}

/// Proofs about two slots, two kinds, or an authority that nobody acknowledged do not combine.
#[tokio::test]
async fn proofs_of_different_authorities_do_not_combine() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    server.clock.advance(CA_TTL / 2 + 1);
    server.services.rotate().await;
    let slot = |name| server.slot(name).unwrap();
    let bundle = server.services.bundles.current();
    let published = |name| PublishedAuthority::find(&slot(name), &bundle).unwrap();
    let never = AcknowledgedAuthority::resume(published(SlotName::X509CaB)).unwrap_err();
    assert!(matches!(never, AuthorityError::NeverActive { slot: SlotName::X509CaB }), "{never}");
    let acknowledged = |name| AcknowledgedAuthority::resume(published(name)).unwrap();
    let keys = disk.keys.as_ref();
    let other = MatchedKey::find(&slot(SlotName::X509CaB), keys).await.unwrap();
    let refused = SigningAuthority::<X509Use>::new(acknowledged(SlotName::X509CaA), other).unwrap_err();
    assert!(matches!(refused, AuthorityError::OtherSlot { .. }), "{refused}");
    for (name, is_jwt) in [(SlotName::X509CaA, false), (SlotName::JwtSignerA, true)] {
        let key = MatchedKey::find(&slot(name), keys).await.unwrap();
        let refused = if is_jwt {
            SigningAuthority::<X509Use>::new(acknowledged(name), key).err()
        } else {
            SigningAuthority::<JwtUse>::new(acknowledged(name), key).err()
        };
        assert!(matches!(refused, Some(AuthorityError::OtherKind { .. })), "{refused:?}");
    }
}
