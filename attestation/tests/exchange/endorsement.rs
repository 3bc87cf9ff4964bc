//! Trust in endorsement keys: chains, pins, and what is said when something was not checked.

use plastron_attestation::{EkTemplate, Payload};
use plastron_attestation_appraise::{
    Check, CheckOutcome, EkFingerprint, EkPin, EkTrust, ExpiredEk, Pool, PoolError, TrustAnchors,
    certificate_in_container,
};
use plastron_attestation_fake_tpm::{EkCertificate, FakeTpm, Manufacturer};
use rcgen::{CustomExtension, KeyUsagePurpose};

use crate::world::{Agent, Meddling, NOW, World, assert_refused, pool_config};

pub(crate) fn pin_of(tpm: &FakeTpm) -> EkPin {
    EkPin {
        fingerprint: EkFingerprint::of_bytes(&tpm.ek_public()).unwrap(),
        added_by: "alice".into(),
        added_at: NOW,
        reason: "ticket 4711".into(),
        obtained: "read at the console".into(),
        expires: Some(NOW + 86_400),
    }
}

fn anchors(manufacturer: &Manufacturer) -> TrustAnchors {
    TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap()
}

fn set_trust(world: &mut World, trust: EkTrust) {
    let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
    config.ek_trust = trust;
    world.policy.pools = vec![Pool::new(config).unwrap()];
}

#[test]
fn a_pinned_ek_needs_no_certificate_and_proves_no_manufacturer() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.set_certificate(None);
    set_trust(&mut world, EkTrust::Pin(vec![pin_of(&tpm)]));
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    assert!(!node.selectors().iter().any(|selector| selector.value().starts_with("manufacturer")));
    assert!(node.enrolled_tpm().ek_certificate.is_none());
    let path = node.records().iter().find(|record| record.check == Check::EkPath).unwrap();
    assert_eq!(
        (path.outcome, path.detail.as_str()),
        (CheckOutcome::NotChecked, "ek: pinned, uncertified; fingerprint obtained: \"read at the console\"")
    );
    world.now += 86_401;
    assert_refused(&world.admit(&mut tpm, &mut Agent::default()).unwrap_err(), Check::EkPin);
}

/// What a pin does not judge, it does not keep: a certificate beside a pin is the node's word.
#[test]
fn a_certificate_beside_a_pin_proves_nothing() {
    let mut world = World::new();
    let mut tpm = World::new().tpm();
    for certificate in [tpm.certificate().map(<[u8]>::to_vec), Some(b"no certificate".to_vec())] {
        tpm.set_certificate(certificate);
        set_trust(&mut world, EkTrust::Pin(vec![pin_of(&tpm)]));
        let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
        assert!(!node.selectors().iter().any(|selector| selector.value().starts_with("manufacturer")));
        assert_eq!(node.enrolled_tpm().ek_certificate, None);
    }
}

#[test]
fn chain_and_pin_demands_both() {
    let mut world = World::new();
    let (mut tpm, mut other) = (world.tpm(), world.tpm());
    let pins = vec![pin_of(&tpm)];
    let chain = anchors(&world.manufacturer);
    set_trust(&mut world, EkTrust::ChainAndPin(chain, pins.clone()));
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
    assert_refused(&world.refusal(&mut other, Meddling::default()), Check::EkPin);
    set_trust(&mut world, EkTrust::ChainAndPin(anchors(&Manufacturer::new("Hare")), pins));
    world.known.clear();
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkPath);
}

/// Pins come in whatever order an inventory has.
#[test]
fn every_pin_of_many_is_found() {
    let mut world = World::new();
    let mut tpms: Vec<_> = (0..5).map(|_| world.tpm()).collect();
    set_trust(&mut world, EkTrust::Pin(tpms.iter().map(pin_of).collect()));
    for tpm in &mut tpms {
        world.admit(tpm, &mut Agent::default()).unwrap();
    }
    assert_refused(&world.refusal(&mut World::new().tpm(), Meddling::default()), Check::EkPin);
}

#[test]
fn chain_or_pin_takes_either_and_says_which() {
    let mut world = World::new();
    let (mut pinned, mut certified, mut neither) = (World::new().tpm(), world.tpm(), World::new().tpm());
    let chain = anchors(&world.manufacturer);
    set_trust(&mut world, EkTrust::ChainOrPin(chain, vec![pin_of(&pinned)]));
    let outcome = |node: &plastron_attestation_appraise::AttestedNode, check| {
        node.records().iter().find(|record| record.check == check).map(|record| record.outcome)
    };
    let node = world.admit(&mut pinned, &mut Agent::default()).unwrap();
    assert_eq!(outcome(&node, Check::EkPin), Some(CheckOutcome::Passed));
    assert_eq!(outcome(&node, Check::EkPath), Some(CheckOutcome::NotChecked));
    let node = world.admit(&mut certified, &mut Agent::default()).unwrap();
    assert_eq!(outcome(&node, Check::EkPin), None);
    assert_eq!(outcome(&node, Check::EkPath), Some(CheckOutcome::Passed));
    assert_refused(&world.refusal(&mut neither, Meddling::default()), Check::EkPath);
    neither.set_certificate(None);
    assert_refused(&world.refusal(&mut neither, Meddling::default()), Check::EkPin);
}

#[test]
fn several_pools_are_asked_in_order() {
    let mut world = World::new();
    let hare = Manufacturer::new("Hare");
    let mut second = pool_config(&hare, EkTemplate::H3P384);
    second.name = "hares".into();
    world.policy.pools.push(Pool::new(second).unwrap());
    let mut tpm = FakeTpm::new(&hare, EkTemplate::H3P384);
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    assert_eq!(node.pool(), "hares");
    let mut stranger = World::new().tpm();
    let refused = world.refusal(&mut stranger, Meddling::default());
    assert_refused(&refused, Check::Pool);
    let detail = &refused.records().last().unwrap().detail;
    assert!(detail.contains("metal") && detail.contains("hares"), "{detail}");
}

#[test]
fn an_intermediate_may_come_from_the_tpm_and_is_not_trusted_for_that() {
    let mut world = World::new();
    let roots_only = TrustAnchors::new(vec![world.manufacturer.root()], vec![]).unwrap();
    set_trust(&mut world, EkTrust::Chain(roots_only));
    let mut tpm = world.tpm();
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkPath);
    tpm.set_chain(vec![world.manufacturer.intermediate()]);
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
    // A whole chain of somebody else's, root included.
    let hare = Manufacturer::new("Hare");
    let mut tpm = FakeTpm::new(&hare, EkTemplate::H3P384);
    tpm.set_chain(vec![hare.intermediate(), hare.root()]);
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkPath);
}

#[test]
fn an_expired_certificate_is_accepted_only_where_the_pool_says_so() {
    let mut world = World::with_pool(|config| config.expired_ek = ExpiredEk::Accepted);
    let mut tpm = world.tpm();
    tpm.certify(&EkCertificate { valid_years: (2000, 2025), ..EkCertificate::default() });
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let validity = node.records().iter().find(|record| record.check == Check::EkValidity).unwrap();
    assert_eq!(validity.outcome, CheckOutcome::NotChecked);
    assert!(validity.detail.contains("expired_ek"));
    tpm.certify(&EkCertificate { valid_years: (2030, 2040), ..EkCertificate::default() });
    world.known.clear();
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkValidity);
}

/// Threat 16: CVE-2026-40097, and every other certificate that is not an EK's.
#[test]
fn certificates_of_other_kinds_are_refused() {
    let usage = |usages: Vec<Vec<u64>>| EkCertificate { extended_key_usages: usages, ..EkCertificate::default() };
    let (ek, platform, ak) = (vec![2, 23, 133, 8, 1], vec![2, 23, 133, 8, 2], vec![2, 23, 133, 8, 3]);
    let keys = |key_usages| EkCertificate { key_usages: Some(key_usages), ..EkCertificate::default() };
    let identity = |identity| EkCertificate { identity, ..EkCertificate::default() };
    let bad = [
        (usage(vec![platform.clone()]), Check::EkExtendedKeyUsage),
        (usage(vec![ak.clone()]), Check::EkExtendedKeyUsage),
        (usage(vec![ek.clone(), platform]), Check::EkExtendedKeyUsage),
        (usage(vec![ek, ak]), Check::EkExtendedKeyUsage),
        (usage(vec![]), Check::EkExtendedKeyUsage),
        (keys(vec![KeyUsagePurpose::DigitalSignature]), Check::EkKeyUsage),
        (keys(vec![KeyUsagePurpose::KeyAgreement, KeyUsagePurpose::KeyCertSign]), Check::EkKeyUsage),
        (keys(vec![]), Check::EkKeyUsage),
        (identity([None, Some("m".into()), Some("v".into())]), Check::EkTpmIdentity),
        (identity([Some("IFX".into()), Some("m".into()), Some("v".into())]), Check::EkTpmIdentity),
        (identity([Some("id:49465800".into()), None, Some("v".into())]), Check::EkTpmIdentity),
        (identity([Some("id:49465800".into()), Some("m".into()), Some(String::new())]), Check::EkTpmIdentity),
        (EkCertificate { has_alternative_name: false, ..EkCertificate::default() }, Check::EkTpmIdentity),
    ];
    let mut world = World::new();
    let mut tpm = world.tpm();
    for (certificate, check) in bad {
        tpm.certify(&certificate);
        assert_refused(&world.refusal(&mut tpm, Meddling::default()), check);
    }
}

#[test]
fn the_container_is_read_leniently_and_the_certificate_strictly() {
    let world = World::new();
    let der = world.tpm().certificate().unwrap().to_vec();
    let with_header = |header: &[u8]| [header, &der].concat();
    let len = u16::try_from(der.len()).unwrap().to_be_bytes();
    let containers = [
        der.clone(),
        [der.as_slice(), &[0xff; 300]].concat(),
        [der.as_slice(), &[0; 9], &[0x11; 9]].concat(),
        with_header(&[0x10, 0x01, 0x00, len[0], len[1]]),
        with_header(&[0x10, 0x01, 0x00, len[0], len[1], 0x10, 0x02]),
    ];
    for container in containers {
        assert_eq!(certificate_in_container("EK", &container).unwrap(), der);
    }
    for broken in [&der[..der.len() - 1], &[0; 64], &[0x30, 0x82], &[]] {
        assert!(certificate_in_container("EK", broken).is_err());
    }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes to replace");
    bytes[at..at + to.len()].copy_from_slice(to);
}

/// Manufacturers write the key of an RSA EK as id-RSAES-OAEP too; the node's ID is the same.
#[test]
fn the_certificates_spelling_of_an_rsa_key_does_not_matter() {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let (mut tpm, other) = (
        FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048),
        FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048),
    );
    let good = tpm.certificate().unwrap().to_vec();
    let oaep = world.manufacturer.forge(&good, |tbs| {
        let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        // NULL becomes parameters with nothing but defaults.
        replace(tbs, &[oid.as_slice(), &[0x01, 0x05, 0x00]].concat(), &[oid.as_slice(), &[0x07, 0x30, 0x00]].concat());
    });
    tpm.set_certificate(Some(oaep));
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    assert_eq!(node.ek_fingerprint(), EkFingerprint::of_bytes(&tpm.ek_public()).unwrap());
    // The key of another TPM in the same spelling.
    world.known.clear();
    tpm.set_certificate(other.certificate().map(<[u8]>::to_vec));
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkCertificateKey);
}

/// Threat 16: whoever knows a modulus can ask a CA for a certificate over it with an exponent of their own.
#[test]
fn a_certificate_over_the_same_modulus_with_another_exponent_is_refused() {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let mut tpm = FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048);
    let good = tpm.certificate().unwrap().to_vec();
    let three = world.manufacturer.forge(&good, |tbs| replace(tbs, &[0x02, 0x03, 1, 0, 1], &[0x02, 0x03, 1, 0, 3]));
    tpm.set_certificate(Some(three));
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::EkCertificateKey);
    assert!(refused.error().describe().contains("the exponents differ"), "{refused}");
    // The same in the public area: TPMT_PUBLIC states 0 for 65537, ten bytes before the end of the parameters.
    tpm.set_certificate(Some(good));
    let three = |bytes: Vec<u8>| {
        let mut payload = Payload::decode(&bytes).unwrap();
        let at = payload.ek_public.len() - 256 - 2 - 4;
        payload.ek_public[at..at + 4].copy_from_slice(&3u32.to_be_bytes());
        payload.encode()
    };
    let refused = world.refusal(&mut tpm, Meddling { payload: Box::new(three), ..Meddling::default() });
    assert_refused(&refused, Check::EkTemplate);
}

/// One TPM has many EKs, and a pool takes one kind of them: a pin of another kind opens nothing.
#[test]
fn a_pin_of_another_templates_ek_opens_nothing() {
    let mut world = World::new();
    let mut p384 = world.tpm();
    let mut rsa = FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048);
    let pin = pin_of(&p384);
    let mut config = pool_config(&world.manufacturer, EkTemplate::L1Rsa2048);
    config.ek_trust = EkTrust::Pin(vec![pin.clone()]);
    world.policy.pools = vec![Pool::new(config.clone()).unwrap()];
    assert_refused(&world.refusal(&mut p384, Meddling::default()), Check::EkTemplate);
    assert_refused(&world.refusal(&mut rsa, Meddling::default()), Check::EkPin);
    // H-1 and L-1 are both RSA-2048, and not the same.
    let mut high = FakeTpm::new(&world.manufacturer, EkTemplate::H1Rsa2048);
    config.ek_trust = EkTrust::Pin(vec![pin_of(&high)]);
    world.policy.pools = vec![Pool::new(config.clone()).unwrap()];
    assert_refused(&world.refusal(&mut high, Meddling::default()), Check::EkTemplate);
    config.ek_trust = EkTrust::Pin(vec![pin.clone(), pin]);
    assert!(matches!(Pool::new(config), Err(PoolError::DuplicatePin { .. })));
}

/// Threat 16: CVE-2026-40097. Empty sequences where a certificate has to say something.
#[test]
fn cve_2026_40097_empty_extensions_are_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let empty = |oid: &[u64], critical| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![0x30, 0x00]);
        extension.set_criticality(critical);
        vec![extension]
    };
    for critical in [false, true] {
        let extensions = empty(&[2, 5, 29, 37], critical);
        tpm.certify(&EkCertificate { extended_key_usages: vec![], extensions, ..EkCertificate::default() });
        let refused = world.refusal(&mut tpm, Meddling::default());
        assert_refused(&refused, Check::EkExtendedKeyUsage);
        assert!(refused.error().describe().contains("extended key usage is empty"), "{refused}");
        let extensions = empty(&[2, 5, 29, 17], critical);
        tpm.certify(&EkCertificate { has_alternative_name: false, extensions, ..EkCertificate::default() });
        assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkTpmIdentity);
    }
}

/// Threat 16: signed by the right CA, and yet no certificate.
#[test]
fn certificates_that_readers_would_read_differently_are_refused() {
    // ecdsa-with-SHA256 outside, ecdsa-with-SHA384 inside.
    let two_algorithms = |tbs: &mut Vec<u8>| {
        let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
        replace(tbs, &[oid.as_slice(), &[0x02]].concat(), &[oid.as_slice(), &[0x03]].concat());
    };
    // X.509 v1, with extensions all the same.
    let version_one = |tbs: &mut Vec<u8>| replace(tbs, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 0]);
    let nothing = |_: &mut Vec<u8>| {};
    // A serial number, 1001, that is no INTEGER.
    let no_number = |tbs: &mut Vec<u8>| {
        let at = tbs.windows(4).position(|window| window == [0x02, 0x02, 0x10, 0x01]).expect("the serial number");
        tbs[at] = 0x04;
    };
    type Forgery = (fn(&mut Vec<u8>), bool);
    let forgeries: [Forgery; 4] = [(nothing, true), (two_algorithms, false), (version_one, false), (no_number, false)];
    let mut world = World::new();
    let mut tpm = world.tpm();
    let own = tpm.certificate().unwrap().to_vec();
    for (forge, is_good) in forgeries {
        tpm.set_certificate(Some(world.manufacturer.forge(&own, forge)));
        match is_good {
            true => drop(world.admit(&mut tpm, &mut Agent::default()).unwrap()),
            false => assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkCertificate),
        }
    }
    let extension = || CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 2], vec![5, 0]);
    tpm.certify(&EkCertificate { extensions: vec![extension()], ..EkCertificate::default() });
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
    tpm.certify(&EkCertificate { extensions: vec![extension(), extension()], ..EkCertificate::default() });
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::EkCertificate);
}

/// Threat 16: no prefix and no flipped byte of a certificate does anything but be refused, and none panics.
#[test]
fn no_broken_certificate_is_trusted() {
    use plastron_attestation_appraise::{Checklist, EkEvidence, TrustedEk};
    let world = World::new();
    let tpm = world.tpm();
    let good = tpm.certificate().unwrap().to_vec();
    let judge = |certificate: &[u8]| {
        let public = tpm.ek_public();
        let evidence = EkEvidence { public: &public, certificate: Some(certificate), intermediates: &[] };
        TrustedEk::judge(evidence, &world.policy.pools, &world.policy.deny, NOW, &mut Checklist::new())
    };
    assert!(judge(&good).is_ok());
    for at in 0..good.len() {
        assert!(judge(&good[..at]).is_err(), "cut at {at}");
        let mut flipped = good.clone();
        flipped[at] ^= 0x01;
        assert!(judge(&flipped).is_err(), "flipped at {at}");
    }
}
