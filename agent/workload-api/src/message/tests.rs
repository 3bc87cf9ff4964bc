//! The messages' rules, on certificates that were really issued.

use plastron_agent_core::{Identity, PrivateKey};
use plastron_spiffe::X509Authority;
use plastron_spiffe::x509::X509Svid;
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use zeroize::Zeroizing;

use super::*;

fn identity(entry_id: &str, created: i64, hint: &str) -> Arc<Identity> {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let spiffe_id = trust_domain.with_path(&format!("/{entry_id}")).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(spiffe_id.as_str().try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    Arc::new(Identity {
        entry_id: entry_id.into(),
        spiffe_id,
        hint: hint.to_owned(),
        entry_created_at: created,
        is_delegable: true,
        svid: Arc::new(X509Svid::parse(vec![leaf]).unwrap()),
        private_key: Arc::new(PrivateKey::from_pkcs8(Zeroizing::new(key.serialize_der()))),
    })
}

fn bundle(trust_domain: &str, authorities: &[&[u8]]) -> Arc<Bundle> {
    Arc::new(Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        x509_authorities: authorities
            .iter()
            .map(|der| X509Authority { certificate: der.to_vec(), tainted: false })
            .collect(),
        jwt_authorities: Vec::new(),
        refresh_hint: 0,
        sequence_number: 1,
    })
}

fn federated(bundles: &[Arc<Bundle>]) -> BTreeMap<TrustDomain, Arc<Bundle>> {
    bundles.iter().map(|bundle| (bundle.trust_domain.clone(), bundle.clone())).collect()
}

fn update(identities: Vec<Arc<Identity>>) -> WorkloadUpdate {
    WorkloadUpdate {
        identities,
        bundle: bundle("example.org", &[b"one", b"two"]),
        federated_bundles: federated(&[bundle("full.test", &[b"f"]), bundle("empty.test", &[])]),
    }
}

#[test]
fn a_message_holds_every_mandatory_field_in_the_order_of_the_entries() {
    let identities = vec![identity("a", 5, ""), identity("b", 1, "")];
    let message = x509_svids(&update(identities.clone())).unwrap();
    let ids: Vec<_> = message.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect();
    assert_eq!(ids, ["spiffe://example.org/a", "spiffe://example.org/b"]);
    for (svid, identity) in message.svids.iter().zip(&identities) {
        assert_eq!(svid.x509_svid, identity.svid.chain().concat());
        assert_eq!(svid.x509_svid_key, identity.private_key.reveal_pkcs8());
        assert_eq!(svid.bundle, b"onetwo");
    }
    assert!(message.crl.is_empty());
}

#[test]
fn a_domain_without_authorities_is_absent_and_never_empty() {
    let message = x509_svids(&update(vec![identity("a", 1, "")])).unwrap();
    assert_eq!(message.federated_bundles, BTreeMap::from([("spiffe://full.test".to_owned(), b"f".to_vec())]));
    let empty = WorkloadUpdate { bundle: bundle("example.org", &[]), ..update(vec![identity("a", 1, "")]) };
    assert!(matches!(x509_svids(&empty), Err(Refusal::EmptyBundle)));
    assert!(matches!(x509_bundles(&empty.bundle, &BTreeMap::new()), Err(Refusal::EmptyBundle)));
}

#[test]
fn of_equal_hints_the_oldest_entry_keeps_it_and_the_others_are_left_out() {
    let cases = [
        (vec![("a", 9, "x"), ("b", 3, "x"), ("c", 5, "x")], vec!["b"]),
        (vec![("a", 3, "x"), ("b", 3, "x")], vec!["a"]),
        (vec![("a", 9, ""), ("b", 3, ""), ("c", 1, "x")], vec!["a", "b", "c"]),
        (vec![("a", 9, "x"), ("b", 3, "y"), ("c", 1, "x")], vec!["b", "c"]),
    ];
    for (entries, expected) in cases {
        let identities: Vec<_> = entries.iter().map(|(id, created, hint)| identity(id, *created, hint)).collect();
        let kept: Vec<_> = with_unique_hints(&identities).iter().map(|identity| &*identity.entry_id).collect();
        assert_eq!(kept, expected, "{entries:?}");
    }
}

#[test]
fn bundles_are_keyed_by_trust_domain_id() {
    let message = x509_bundles(&bundle("example.org", &[b"one"]), &federated(&[bundle("full.test", &[b"f"])])).unwrap();
    let expected = [("spiffe://example.org", b"one".to_vec()), ("spiffe://full.test", b"f".to_vec())];
    assert_eq!(message.bundles, expected.map(|(id, der)| (id.to_owned(), der)).into());
}

#[test]
fn only_a_change_of_authorities_makes_another_message_of_bundles() {
    let view = |own: &[&[u8]], foreign: &[&[u8]], sequence_number| {
        let mut own = (*bundle("example.org", own)).clone();
        own.sequence_number = sequence_number;
        View::Identities(WorkloadUpdate {
            identities: vec![identity("a", 1, "")],
            bundle: Arc::new(own),
            federated_bundles: federated(&[bundle("full.test", foreign)]),
        })
    };
    let first = view(&[b"1"], &[b"f"], 1);
    assert!(same_x509_bundles(&first, &view(&[b"1"], &[b"f"], 2)));
    for other in
        [view(&[b"2"], &[b"f"], 1), view(&[b"1", b"2"], &[b"f"], 1), view(&[b"1"], &[b"g"], 1), view(&[b"1"], &[], 1)]
    {
        assert!(!same_x509_bundles(&first, &other));
    }
    assert!(!same_x509_bundles(&first, &View::OwnBundle(bundle("example.org", &[b"1"]))));
}
