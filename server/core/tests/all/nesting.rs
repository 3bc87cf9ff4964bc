//! Downstream servers: what their CA can sign, and when they get none.

use plastron_server_core::authorization::{Caller, rpc};
use plastron_server_core::issuance::SvidRequest;
use plastron_server_core::nesting::NestingError;
use plastron_server_core::store::PublishError;
use plastron_spiffe::x509::{
    Issuer, LeafTemplate, Purpose, SerialNumber, SignatureAlgorithm, X509Svid, verify_chain, verify_csr,
};
use plastron_spiffe::{JwtAuthority, RegistrationEntry};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rustls_pki_types::UnixTime;

use crate::faults::SlowKeys;
use crate::fixture::{CA_TTL, Disk, START, Server, csr, entry, forged_csr, id};

/// A workload whose entry says that it is a downstream server, and the entry's identifier.
pub(crate) async fn downstream(server: &Server) -> (Caller, String) {
    downstream_as(server, "/nested").await
}

pub(crate) async fn downstream_as(server: &Server, path: &str) -> (Caller, String) {
    let (agent, agent_caller) = server.agent().await;
    let wanted = RegistrationEntry { downstream: true, ..entry(path, &agent, &["unix:uid:1"]) };
    let entry_id = server.create(vec![wanted]).await.remove(0).id.clone();
    let permit = server.permit::<rpc::BatchNewX509Svid>(&agent_caller).await;
    let request = SvidRequest { entry_id: entry_id.clone(), csr: csr(&[]) };
    let issued = server.services.issuance.batch_new_x509_svid(permit, vec![request]).await.unwrap();
    (server.caller(&issued.into_iter().next().unwrap().unwrap()), entry_id)
}

async fn delete(server: &Server, entry_id: String) {
    let permit = server.permit::<rpc::BatchDeleteEntry>(&crate::fixture::local()).await;
    server.services.registration.delete(permit, vec![entry_id]).await.unwrap().remove(0).unwrap();
}

#[tokio::test]
async fn what_a_downstream_ca_signs_is_verified_by_the_bundle() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let key = KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let permit = server.permit::<rpc::NewDownstreamX509Ca>(&caller).await;
    let (ca, bundle) = server.services.nesting.new_downstream_x509_ca(permit, &request, 600).await.unwrap();
    assert_eq!((ca.chain.len(), ca.not_after), (1, START + 600), "the root is not in the chain");
    assert_eq!(bundle.as_ref(), server.services.bundles.current().as_ref());
    let recorded = disk.audit.lines().into_iter().find(|line| line.contains("downstream x509 ca issue")).unwrap();
    assert!(recorded.contains("spiffe://example.org/nested"), "{recorded}");
    assert!(recorded.contains(&ca.serial.to_decimal()), "{recorded}");

    // The downstream server signs a workload's SVID with its key, as this server would.
    let workload = KeyPair::generate().unwrap();
    let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let issuer = Issuer::from_certificate(ca.chain.first().unwrap(), SignatureAlgorithm::EcdsaSha256).unwrap();
    let tbs = LeafTemplate {
        spiffe_id: &id("/workload"),
        public_key: &workload.subject_public_key_info(),
        subject: None,
        dns_names: &[],
        serial: &SerialNumber::from_random([1; 16]),
        not_before: at(START),
        not_after: at(START + 300),
    }
    .to_tbs(&issuer)
    .unwrap();
    let signature = key.sign(tbs.as_bytes()).unwrap();
    let leaf = tbs.assemble(&signature).unwrap();
    let chain: Vec<_> = std::iter::once(leaf.clone()).chain(ca.chain.iter().cloned()).collect();
    let svid = X509Svid::parse(chain).unwrap();
    let verified = verify_chain(svid, bundle.as_ref(), Purpose::Any, at(START + 1)).unwrap();
    assert_eq!(verified.id(), &id("/workload"));
    let alone = X509Svid::parse(vec![leaf]).unwrap();
    assert!(verify_chain(alone, bundle.as_ref(), Purpose::Any, at(START + 1)).is_err(), "not without the CA between");
}

#[tokio::test]
async fn a_downstream_ca_lives_as_long_as_asked_and_never_longer_than_its_root() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let mut ends = Vec::new();
    for ttl in [0, -1, 60, i32::MAX] {
        let permit = server.permit::<rpc::NewDownstreamX509Ca>(&caller).await;
        let (ca, _) = server.services.nesting.new_downstream_x509_ca(permit, &csr(&[]), ttl).await.unwrap();
        ends.push(ca.not_after - START);
    }
    assert_eq!(ends, [CA_TTL, CA_TTL, 60, CA_TTL]);
}

#[tokio::test]
async fn a_request_that_proves_no_key_gets_no_ca() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    for (request, forged) in [(Vec::new(), false), (vec![0x30], false), (forged_csr(), true)] {
        let permit = server.permit::<rpc::NewDownstreamX509Ca>(&caller).await;
        let refused = server.services.nesting.new_downstream_x509_ca(permit, &request, 0).await.unwrap_err();
        assert_eq!(matches!(refused, NestingError::CsrSignature), forged, "{refused:?}");
        assert_eq!(matches!(refused, NestingError::Csr(_)), !forged, "{refused:?}");
    }
    assert!(verify_csr(&csr(&[])).is_ok());
}

/// Whoever is no downstream server any more when the signature is made does not get it.
#[tokio::test]
async fn an_entry_that_goes_during_the_signature_wins() {
    let mut disk = Disk::new();
    let keys = SlowKeys::over(std::sync::Arc::clone(&disk.keys));
    disk.keys = std::sync::Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let (caller, entry_id) = downstream(&server).await;
    let permit = server.permit::<rpc::NewDownstreamX509Ca>(&caller).await;
    let gate = keys.hold();
    let (services, request) = (std::sync::Arc::clone(&server.services), csr(&[]));
    let asked = tokio::spawn(async move { services.nesting.new_downstream_x509_ca(permit, &request, 0).await });
    keys.somebody_waits().await;
    delete(&server, entry_id).await;
    drop(gate);
    assert!(matches!(asked.await.unwrap(), Err(NestingError::NotDownstream)));
}

#[tokio::test]
async fn a_ca_that_can_not_be_recorded_is_for_nobody() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let permit = server.permit::<rpc::NewDownstreamX509Ca>(&caller).await;
    disk.audit.fill();
    let refused = server.services.nesting.new_downstream_x509_ca(permit, &csr(&[]), 0).await.unwrap_err();
    assert!(matches!(refused, NestingError::Audit(_)), "{refused:?}");
}

#[tokio::test]
async fn a_downstream_servers_jwt_key_is_published_once() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let spki = || KeyPair::generate().unwrap().subject_public_key_info();
    let expires_at = i64::try_from(START + 900).unwrap();
    let key = |key_id: &str, public_key: Vec<u8>| JwtAuthority {
        key_id: key_id.to_owned(),
        public_key,
        expires_at,
        tainted: true,
    };
    let publish = async |authority: JwtAuthority| {
        let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
        server.services.nesting.publish_jwt_authority(permit, authority).await
    };
    let nested = key("nested", spki());
    let before = server.services.bundles.current();
    let published = publish(nested.clone()).await.unwrap();
    assert_eq!(published.jwt_authorities.len(), before.jwt_authorities.len() + 1);
    let kept = JwtAuthority { tainted: false, ..nested.clone() };
    assert_eq!(published.jwt_authorities.last(), Some(&kept), "and not tainted by who publishes it");
    let again = publish(nested).await.unwrap();
    assert_eq!(again.sequence_number, published.sequence_number);
    let taken = publish(key("nested", spki())).await.unwrap_err();
    assert!(matches!(taken, NestingError::KeyIdTaken { .. }), "{taken:?}");
    for bad in [key("", spki()), key("other", Vec::new())] {
        assert!(matches!(publish(bad).await.unwrap_err(), NestingError::JwtAuthority(_)));
    }
}

/// Threat 62
///
/// Whoever fell does not keep the others from rotating, and whoever rotates often is not held up by its own past.
#[tokio::test]
async fn a_downstream_server_has_a_share_of_the_bundle() {
    let server = Disk::new().start().await.unwrap();
    let (one, _) = downstream(&server).await;
    let (other, _) = downstream_as(&server, "/other").await;
    let public_key = KeyPair::generate().unwrap().subject_public_key_info();
    let publish = async |caller: &Caller, key_id: String, lives: u64| {
        let expires_at = i64::try_from(server.clock_now() + lives).unwrap();
        let authority = JwtAuthority { key_id, public_key: public_key.clone(), expires_at, tainted: false };
        let permit = server.permit::<rpc::PublishJwtAuthority>(caller).await;
        server.services.nesting.publish_jwt_authority(permit, authority).await
    };
    for n in 0..64 {
        publish(&one, format!("one-{n}"), if n < 2 { 60 } else { 900 }).await.unwrap();
    }
    let refused = publish(&one, "one-more".to_owned(), 900).await.unwrap_err();
    let share = PublishError::ShareUsed { got: 64, share: 64 };
    assert!(matches!(&refused, NestingError::Publish(why) if *why == share), "{refused:?}");
    publish(&other, "other".to_owned(), 900).await.unwrap();

    server.clock.advance(61);
    let bundle = publish(&one, "one-more".to_owned(), 900).await.unwrap();
    let has = |key_id: &str| bundle.jwt_authorities.iter().any(|key| key.key_id == key_id);
    assert!(!has("one-0") && !has("one-1") && has("one-2") && has("one-more") && has("other"));
    publish(&one, "and-another".to_owned(), 900).await.unwrap();
    let refused = publish(&one, "too-many".to_owned(), 900).await.unwrap_err();
    assert!(matches!(&refused, NestingError::Publish(why) if *why == share), "{refused:?}");
}

/// Threat 62
///
/// What all have together is bounded too.
#[tokio::test]
async fn the_bundle_is_bounded_however_many_publish() {
    let server = Disk::new().start().await.unwrap();
    let public_key = KeyPair::generate().unwrap().subject_public_key_info();
    let expires_at = i64::try_from(START + 900).unwrap();
    let mut refused = None;
    for who in 0..5 {
        let (caller, _) = downstream_as(&server, &format!("/nested-{who}")).await;
        for n in 0..64 {
            let key_id = format!("{who}-{n}");
            let authority = JwtAuthority { key_id, public_key: public_key.clone(), expires_at, tainted: false };
            let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
            refused = server.services.nesting.publish_jwt_authority(permit, authority).await.err().or(refused);
        }
    }
    assert!(matches!(refused, Some(NestingError::TooMany { got: 257 })), "{refused:?}");
}

/// A key that nobody can verify with any more, or that never ends, and a name that every agent would have to keep.
#[tokio::test]
async fn a_published_key_has_an_end_and_a_short_name() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let now = i64::try_from(START).unwrap();
    let publish = async |key_id: String, expires_at: i64| {
        let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
        let public_key = KeyPair::generate().unwrap().subject_public_key_info();
        let authority = JwtAuthority { key_id, public_key, expires_at, tainted: false };
        server.services.nesting.publish_jwt_authority(permit, authority).await
    };
    for expires_at in [i64::MIN, -1, 0, now] {
        let refused = publish("ends".to_owned(), expires_at).await;
        assert!(matches!(refused, Err(NestingError::Ended { .. })), "{expires_at}: {refused:?}");
    }
    let refused = publish("k".repeat(256), now + 60).await;
    assert!(matches!(refused, Err(NestingError::KeyIdTooLong { got: 256 })), "{refused:?}");
    publish("k".repeat(255), now + 60).await.unwrap();
}

/// Of two at once under one identifier, the one whose key is not in the bundle learns it.
#[tokio::test]
async fn two_keys_that_come_at_once_under_one_name_are_not_both_published() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let expires_at = i64::try_from(START + 900).unwrap();
    let publish = async || {
        let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
        let public_key = KeyPair::generate().unwrap().subject_public_key_info();
        let authority = JwtAuthority { key_id: "nested".to_owned(), public_key, expires_at, tainted: false };
        server.services.nesting.publish_jwt_authority(permit, authority).await
    };
    let (one, other) = tokio::join!(publish(), publish());
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(refused.as_slice(), [NestingError::KeyIdTaken { .. }]), "{refused:?}");
}

/// Threat 62
///
/// The key of a downstream server that fell is nobody's slot, and goes all the same.
#[tokio::test]
async fn a_published_key_can_be_tainted_and_revoked() {
    let server = Disk::new().start().await.unwrap();
    let (caller, _) = downstream(&server).await;
    let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
    let public_key = KeyPair::generate().unwrap().subject_public_key_info();
    let expires_at = i64::try_from(START + 900).unwrap();
    let authority = JwtAuthority { key_id: "nested".to_owned(), public_key, expires_at, tainted: false };
    server.services.nesting.publish_jwt_authority(permit, authority).await.unwrap();
    let authorities = &server.services.local_authorities;
    let local = crate::fixture::local();
    authorities.taint_jwt(server.permit(&local).await, "nested").await.unwrap();
    authorities.revoke_jwt(server.permit(&local).await, "nested").await.unwrap();
    assert!(server.services.bundles.current().jwt_authorities.iter().all(|key| key.key_id != "nested"));
}
