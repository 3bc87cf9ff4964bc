//! Which CA certificates may sign below which roots: each check refuses its own fault.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use plastron_spiffe::x509::{AuthorityChainError as Refusal, verify_authority};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::UnixTime;

/// 2026-06-01.
const NOW: i64 = 1_780_272_000;

struct Ca {
    der: Vec<u8>,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (params(name, change), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, params, key }
    }

    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (params(name, change), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Self { der, params, key }
    }
}

fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW - 3600).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW + 3600).unwrap();
    change(&mut params);
    params
}

fn verified(chain: &[&Ca], roots: &[&Ca], below: usize) -> Result<(usize, Vec<u8>), Refusal> {
    verified_at(chain, roots, below, NOW)
}

fn verified_at(chain: &[&Ca], roots: &[&Ca], below: usize, now: i64) -> Result<(usize, Vec<u8>), Refusal> {
    let der = |cas: &[&Ca]| cas.iter().map(|ca| ca.der.clone()).collect::<Vec<_>>();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap()));
    verify_authority(der(chain), &der(roots), below, now).map(|ok| (ok.chain().len(), ok.root().to_vec()))
}

#[test]
fn a_ca_that_leads_to_a_root_is_taken_and_the_root_is_left_out() {
    let other = Ca::root("other", |_| {});
    let root = Ca::root("root", |_| {});
    let middle = root.below("middle", |_| {});
    let lower = middle.below("lower", |_| {});
    let roots = [&other, &root];
    assert_eq!(verified(&[&root], &roots, 1), Ok((0, root.der.clone())), "a root signs by itself");
    assert_eq!(verified(&[&lower, &middle], &roots, 1), Ok((2, root.der.clone())));
    assert_eq!(verified(&[&lower, &middle, &root], &roots, 1), Ok((2, root.der.clone())), "with the root in the file");
}

#[test]
fn a_chain_that_leads_elsewhere_is_refused() {
    let root = Ca::root("root", |_| {});
    let middle = root.below("middle", |_| {});
    let lower = middle.below("lower", |_| {});
    // The same name, another key.
    let impostor = Ca::root("root", |_| {});
    for (chain, roots) in [
        (vec![&lower, &middle], vec![&impostor]),
        (vec![&lower], vec![&root]),
        (vec![&impostor], vec![&root]),
        (vec![&root], vec![]),
    ] {
        let refused = verified(&chain, &roots, 1);
        assert!(matches!(refused, Err(Refusal::UnknownRoot { .. })), "{refused:?}");
    }
    let refused = verified(&[&middle, &lower, &root], &[&root], 1);
    assert!(matches!(refused, Err(Refusal::NotIssuedBy { .. })), "in the wrong order: {refused:?}");
    assert_eq!(verified(&[], &[&root], 1), Err(Refusal::Length { got: 0 }));
    assert_eq!(verified(&[&middle; 17], &[&root], 1), Err(Refusal::Length { got: 17 }));
}

#[test]
fn what_is_no_ca_or_may_not_sign_is_refused() {
    let root = Ca::root("root", |_| {});
    let refused = |change: &dyn Fn(&mut CertificateParams)| {
        let below = root.below("below", change);
        let as_root = Ca::root("as root", change);
        let first = verified(&[&below], &[&root], 1).unwrap_err();
        let second = verified(&[&as_root], &[&as_root], 1).unwrap_err();
        assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&second));
        // A faulty root above a good CA counts as much.
        let third = verified(&[&as_root.below("good", |_| {})], &[&as_root], 0).unwrap_err();
        assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&third));
        first
    };
    assert!(matches!(refused(&|p| p.is_ca = IsCa::ExplicitNoCa), Refusal::NotCa { .. }));
    assert!(matches!(refused(&|p| p.is_ca = IsCa::NoCa), Refusal::NotCa { .. }));
    assert!(matches!(refused(&|p| p.key_usages = vec![]), Refusal::MayNotSign { .. }));
    assert!(matches!(refused(&|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), Refusal::MayNotSign { .. }));
    let constrained = refused(&|p| {
        let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())];
        p.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    });
    assert!(matches!(constrained, Refusal::Extension { extension, .. } if extension == "2.5.29.30"));
    let not_critical = refused(&|p| {
        // permittedSubtrees with one dNSName, "a".
        let value = vec![0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'a'];
        p.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 30], value));
    });
    assert!(matches!(not_critical, Refusal::Extension { extension, .. } if extension == "2.5.29.30"));
    let unknown = refused(&|p| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        p.custom_extensions.push(extension);
    });
    assert!(matches!(unknown, Refusal::Extension { extension, .. } if extension == "1.2.3.4"));
}

#[test]
fn a_path_length_that_leaves_no_room_is_refused() {
    let limited = |n| move |p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(n));
    let root = Ca::root("root", limited(1));
    let middle = root.below("middle", |_| {});
    assert!(verified(&[&root], &[&root], 1).is_ok());
    assert!(verified(&[&middle], &[&root], 0).is_ok());
    let refused = verified(&[&middle], &[&root], 1).unwrap_err();
    assert!(matches!(refused, Refusal::PathLength { allowed: 1, below: 2, .. }), "{refused:?}");
    let root = Ca::root("root", |_| {});
    let middle = root.below("middle", limited(0));
    let refused = verified(&[&middle], &[&root], 1).unwrap_err();
    assert!(matches!(refused, Refusal::PathLength { allowed: 0, below: 1, .. }), "{refused:?}");
}

#[test]
fn dates_are_told_as_people_read_them() {
    let root = Ca::root("root", |_| {});
    let below = root.below("below", |p| p.not_after -= time::Duration::minutes(30));
    for (chain, now) in [(&below, NOW + 1801), (&root, NOW + 3601)] {
        let refused = verified_at(&[chain], &[&root], 1, now).unwrap_err();
        assert!(matches!(refused, Refusal::Expired { .. }), "{refused:?}");
    }
    let refused = verified_at(&[&below], &[&root], 1, NOW - 3601).unwrap_err();
    let expected = "is not valid before 2026-05-31T23:00:00Z, now 2026-05-31T22:59:59Z";
    assert!(refused.to_string().ends_with(expected), "{refused}");
    let short = Ca::root("short", |p| p.not_after -= time::Duration::minutes(30));
    let below = short.below("below", |_| {});
    let refused = verified_at(&[&below], &[&short], 1, NOW + 1801).unwrap_err();
    assert!(matches!(refused, Refusal::Expired { .. }), "the root has expired: {refused:?}");
}

#[test]
fn a_signature_that_was_tampered_with_is_refused() {
    let root = Ca::root("root", |_| {});
    let mut below = root.below("below", |_| {});
    let at = below.der.windows(5).position(|window| window == b"below").unwrap();
    below.der[at] = b'B';
    let refused = verified(&[&below], &[&root], 1);
    assert!(matches!(refused, Err(Refusal::UnknownRoot { .. })), "{refused:?}");
    below.der.push(0);
    assert!(matches!(verified(&[&below], &[&root], 1), Err(Refusal::Malformed { .. })), "trailing bytes");
}
