//! Each check has evidence that fails it and nothing else. A new `Check` without a fixture does not compile.

use std::sync::Arc;

use plastron_attestation::{EkTemplate, Payload, Refused, Response, Standing, VerifierEvent};
use plastron_attestation_appraise::{
    AcceptableAk, Appraisal, AttestedNode, Binding, Check, Checklist, Claims, CredentialEntropy, DeniedEk, DenyList,
    EkEvidence, EkFingerprint, EkTrust, Expected, GoldenPcr, History, PendingActivation, Purpose, TrustedEk,
    VerifiedQuote,
};
use plastron_attestation_fake_tpm::{AkAlgorithm, AttestedParts, EkCertificate, FakeTpm};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes};
use plastron_spiffe::TrustDomain;
use rcgen::{BasicConstraints, CustomExtension, IsCa, KeyUsagePurpose};
use zeroize::Zeroizing;

use crate::resident;
use crate::world::{Agent, Meddling, NOW, World, assert_refused, pool_config, time};

enum Fixture {
    /// Evidence that fails the check.
    Refused(fn() -> Box<Refused>),
    /// Where the check is made, and shown.
    Elsewhere(&'static str),
}

fn fixture(check: Check) -> Fixture {
    match check {
        Check::Malformed => Fixture::Refused(malformed),
        Check::UnknownPayload => Fixture::Refused(unknown_payload),
        Check::Sequence => Fixture::Refused(sequence),
        Check::JoinToken => Fixture::Elsewhere("server/core, where tokens are spent"),
        Check::Standing => Fixture::Refused(standing),
        Check::DenyList => Fixture::Refused(deny_list),
        Check::Pool => Fixture::Refused(pool),
        Check::EkTemplate => Fixture::Refused(ek_template),
        Check::EkStrength => Fixture::Refused(ek_strength),
        Check::EkCertificate => Fixture::Refused(ek_certificate),
        Check::EkCertificateKey => Fixture::Refused(ek_certificate_key),
        Check::EkBasicConstraints => Fixture::Refused(|| {
            bad_certificate(|certificate| certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
        }),
        Check::EkKeyUsage => Fixture::Refused(|| {
            bad_certificate(|certificate| certificate.key_usages = Some(vec![KeyUsagePurpose::DigitalSignature]))
        }),
        Check::EkExtendedKeyUsage => Fixture::Refused(|| {
            bad_certificate(|certificate| certificate.extended_key_usages = vec![vec![2, 23, 133, 8, 2]])
        }),
        Check::EkTpmIdentity => Fixture::Refused(|| bad_certificate(|certificate| certificate.identity[0] = None)),
        Check::EkCriticalExtension => Fixture::Refused(ek_critical_extension),
        Check::EkValidity => Fixture::Refused(|| bad_certificate(|certificate| certificate.valid_years = (2000, 2025))),
        Check::EkPath => Fixture::Refused(ek_path),
        Check::EkPin => Fixture::Refused(ek_pin),
        Check::EkRevocation => Fixture::Refused(crate::revocation::revoked_leaf),
        Check::AkAttributes => Fixture::Refused(ak_attributes),
        Check::AkAlgorithm => Fixture::Refused(ak_algorithm),
        Check::AkActivated => Fixture::Refused(ak_activated),
        Check::ChallengeFresh => Fixture::Refused(|| meddled(Meddling { delay: 61, ..Meddling::default() })),
        Check::QuoteSignature => Fixture::Refused(quote_signature),
        Check::QuoteMagic => Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.magic ^= 1))),
        Check::QuoteType => Fixture::Refused(quote_type),
        Check::QuoteBinding => {
            Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.extra_data[31] ^= 1)))
        }
        Check::QualifiedSigner => {
            Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.qualified_signer[33] ^= 1)))
        }
        Check::PcrSelection => Fixture::Refused(pcr_selection),
        Check::PcrBanks => Fixture::Refused(|| forged(|tpm| tpm.allocate(&[HashAlgorithm::Sha1]))),
        Check::PcrValues => Fixture::Refused(|| in_response(|response| drop(response.pcr_values.pop()))),
        Check::PcrDigest => Fixture::Refused(|| in_response(|response| response.pcr_values[3][0] ^= 1)),
        Check::SvidKeyAttributes => Fixture::Refused(|| {
            resident::with_attributes(|good| ObjectAttributes(good.0 & !ObjectAttributes::FIXED_TPM.0))
        }),
        Check::SvidKeyPublic => Fixture::Refused(resident::another_key),
        Check::CertifySignature => Fixture::Refused(|| {
            resident::meddled(resident::in_response(|response| {
                *response.certification.as_mut().unwrap().signature.last_mut().unwrap() ^= 1;
            }))
        }),
        Check::CertifyMagic => Fixture::Refused(|| resident::forged(|attest| attest.magic ^= 1)),
        Check::CertifyType => Fixture::Refused(|| {
            resident::forged(|attest| {
                attest.attest_type = 0x8014;
                attest.attested = AttestedParts::Raw(vec![0, 0, 0, 0]);
            })
        }),
        Check::CertifyBinding => Fixture::Refused(|| resident::forged(|attest| attest.extra_data[31] ^= 1)),
        Check::CertifySigner => Fixture::Refused(|| resident::forged(|attest| attest.qualified_signer[33] ^= 1)),
        Check::CertifyName => Fixture::Refused(resident::another_name),
        Check::SameBoot => Fixture::Refused(resident::reset_between),
        Check::EventLogDigest => Fixture::Elsewhere("event_log::another_log_than_the_announced_one_is_refused"),
        Check::GoldenPcr => Fixture::Refused(golden_pcr),
        Check::BankNotExtended => Fixture::Refused(|| forged(|tpm| tpm.extend(HashAlgorithm::Sha256, 4, &[1; 32]))),
        Check::EventLogMissing | Check::EventLogBanks | Check::EventLogReplay => {
            Fixture::Elsewhere("attestation/appraise/tests/event_log.rs")
        }
        Check::Separators
        | Check::SecureBootEvents
        | Check::SecureBoot
        | Check::DebugMode
        | Check::LateBootApplication
        | Check::UnknownEvent
        | Check::FactLimit => Fixture::Elsewhere("attestation/appraise/tests/facts"),
        Check::TpmStateRegressed => Fixture::Refused(tpm_state_regressed),
        Check::ImaList | Check::ImaBootAggregate => Fixture::Elsewhere("attestation/appraise/tests/ima.rs"),
        Check::Approval => Fixture::Elsewhere("server/core, where a person's decision is looked for"),
        Check::Subject => Fixture::Elsewhere("proofs_about_two_tpms_do_not_combine, below"),
    }
}

#[test]
fn every_check_refuses_its_fixture() {
    for check in Check::ALL {
        match fixture(*check) {
            Fixture::Refused(tampered) => assert_refused(&tampered(), *check),
            Fixture::Elsewhere(place) => assert!(!place.is_empty()),
        }
    }
}

fn meddled(meddling: Meddling) -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, meddling)
}

fn forged(forge: fn(&mut FakeTpm)) -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    forge(&mut tpm);
    world.refusal(&mut tpm, Meddling::default())
}

fn bad_certificate(change: fn(&mut EkCertificate)) -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut certificate = EkCertificate::default();
    change(&mut certificate);
    tpm.certify(&certificate);
    world.refusal(&mut tpm, Meddling::default())
}

fn in_payload(change: fn(&mut Payload)) -> Box<Refused> {
    meddled(Meddling {
        payload: Box::new(move |bytes| {
            let mut payload = Payload::decode(&bytes).unwrap();
            change(&mut payload);
            payload.encode()
        }),
        ..Meddling::default()
    })
}

fn in_response(change: fn(&mut Response)) -> Box<Refused> {
    meddled(Meddling {
        response: Box::new(move |bytes| {
            let mut response = Response::decode(&bytes).unwrap();
            change(&mut response);
            response.encode()
        }),
        ..Meddling::default()
    })
}

fn malformed() -> Box<Refused> {
    let short = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    meddled(Meddling { payload: Box::new(short), ..Meddling::default() })
}

fn unknown_payload() -> Box<Refused> {
    meddled(Meddling { payload: Box::new(|_| br#"{"ek":"AAAA"}"#.to_vec()), ..Meddling::default() })
}

fn sequence() -> Box<Refused> {
    let mut verifier = World::new().verifier();
    verifier.step(VerifierEvent::Response(b"PLTP\x02"), time(NOW)).unwrap_err()
}

fn standing() -> Box<Refused> {
    let mut world = World::new();
    let (mut tpm, _, _) = world.enrolled();
    world.set_standing(Standing::Banned { reason: "stolen".into() });
    world.refusal(&mut tpm, Meddling::default())
}

fn deny_list() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let fingerprint = EkFingerprint::of_bytes(&tpm.ek_public()).unwrap();
    let denied = DeniedEk { fingerprint, reason: "recalled".into() };
    world.policy.deny = DenyList { keys: vec![denied], ..DenyList::default() };
    world.refusal(&mut tpm, Meddling::default())
}

fn pool() -> Box<Refused> {
    let mut world = World::new();
    world.policy.pools.clear();
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}

fn ek_template() -> Box<Refused> {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}

/// Threat 15: a modulus that is 1 modulo every prime of the ROCA test.
fn ek_strength() -> Box<Refused> {
    let mut world = World::with_pool(|config| config.ek_template = EkTemplate::L1Rsa2048);
    let mut tpm = FakeTpm::new(&world.manufacturer, EkTemplate::L1Rsa2048);
    let weak = |bytes: Vec<u8>| {
        let mut payload = Payload::decode(&bytes).unwrap();
        let at = payload.ek_public.len() - 256;
        payload.ek_public[at..].copy_from_slice(&roca_modulus());
        payload.encode()
    };
    world.refusal(&mut tpm, Meddling { payload: Box::new(weak), ..Meddling::default() })
}

/// Threat 15: an AK whose modulus is of the ROCA family.
#[test]
fn a_weak_ak_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.set_ak_algorithm(AkAlgorithm::Rsa2048);
    for (weak, what) in [(roca_modulus(), "ROCA"), (vec![0x7f; 256], "256 bytes")] {
        let payload = move |bytes: Vec<u8>| {
            let mut payload = Payload::decode(&bytes).unwrap();
            let at = payload.ak_public.len() - 256;
            payload.ak_public[at..].copy_from_slice(&weak);
            payload.encode()
        };
        let refused = world.refusal(&mut tpm, Meddling { payload: Box::new(payload), ..Meddling::default() });
        assert_refused(&refused, Check::AkAlgorithm);
        assert!(refused.error().describe().contains(what), "{refused}");
    }
}

fn roca_modulus() -> Vec<u8> {
    let is_prime = |n: &u32| (2..*n).all(|divisor| !n.is_multiple_of(divisor));
    // Little-endian product of the odd primes up to 167, moved up until its top bit is bit 2047, plus one.
    let mut product = vec![1u8];
    for prime in (3..=167).filter(is_prime) {
        multiply(&mut product, prime);
    }
    while product.last().unwrap() & 0x80 == 0 {
        multiply(&mut product, 2);
    }
    let mut modulus = vec![0; 256 - product.len()];
    modulus.extend(product);
    modulus[0] |= 1;
    modulus.reverse();
    modulus
}

fn multiply(number: &mut Vec<u8>, by: u32) {
    let mut carry = 0;
    for byte in number.iter_mut() {
        let value = u32::from(*byte) * by + carry;
        *byte = value.to_le_bytes()[0];
        carry = value >> 8;
    }
    if carry > 0 {
        number.push(carry.to_le_bytes()[0]);
    }
}

fn ek_certificate() -> Box<Refused> {
    forged(|tpm| tpm.set_certificate(None))
}

fn ek_certificate_key() -> Box<Refused> {
    let mut world = World::new();
    let other = world.tpm();
    let mut tpm = world.tpm();
    tpm.set_certificate(other.certificate().map(<[u8]>::to_vec));
    world.refusal(&mut tpm, Meddling::default())
}

fn ek_critical_extension() -> Box<Refused> {
    bad_certificate(|certificate| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        certificate.extensions.push(extension);
    })
}

fn ek_path() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = World::new().tpm();
    world.refusal(&mut tpm, Meddling::default())
}

fn ek_pin() -> Box<Refused> {
    let pinned = crate::endorsement::pin_of(&World::new().tpm());
    let mut world = World::with_pool(|config| config.ek_trust = EkTrust::Pin(vec![pinned]));
    let mut tpm = world.tpm();
    world.refusal(&mut tpm, Meddling::default())
}

fn ak_attributes() -> Box<Refused> {
    forged(|tpm| {
        let unrestricted = ObjectAttributes(tpm.ak_attributes().0 & !ObjectAttributes::RESTRICTED.0);
        tpm.set_ak_attributes(unrestricted);
    })
}

/// The scheme's hash, after type, nameAlg, attributes, an empty policy, no symmetric algorithm and the scheme.
fn ak_algorithm() -> Box<Refused> {
    in_payload(|payload| payload.ak_public[14..16].copy_from_slice(&HashAlgorithm::Sha1.id().to_be_bytes()))
}

fn ak_activated() -> Box<Refused> {
    in_response(|response| response.secret = Some(Zeroizing::new(vec![0; 32])))
}

fn quote_signature() -> Box<Refused> {
    in_response(|response| *response.signature.last_mut().unwrap() ^= 1)
}

/// A certification by the same AK, which its own bytes name a certification.
fn quote_type() -> Box<Refused> {
    forged(|tpm| {
        tpm.before_signing(|attest| {
            attest.attest_type = 0x8017;
            attest.attested = AttestedParts::Raw(vec![0, 0, 0, 0]);
        });
    })
}

fn pcr_selection() -> Box<Refused> {
    forged(|tpm| {
        tpm.before_signing(|attest| {
            if let AttestedParts::Quote { select, .. } = &mut attest.attested {
                select[1].bitmap &= !1;
            }
        });
    })
}

fn golden_pcr() -> Box<Refused> {
    let mut world = World::with_pool(|config| {
        let golden = |bank: HashAlgorithm| GoldenPcr { bank, index: 7, value: vec![0; bank.digest_len()] };
        config.golden_pcrs = vec![golden(HashAlgorithm::Sha256), golden(HashAlgorithm::Sha384)];
    });
    let mut tpm = world.tpm();
    tpm.measure(7, b"another Secure Boot state");
    world.refusal(&mut tpm, Meddling::default())
}

fn tpm_state_regressed() -> Box<Refused> {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut old = tpm.copy();
    let mut agent = Agent::default();
    tpm.reboot();
    world.admit(&mut tpm, &mut agent).unwrap();
    // The copy learns the key that the original made, but not its boot.
    old.reboot();
    let mut copy = tpm.copy();
    copy.before_signing(|attest| attest.reset_count -= 1);
    world.converse(&mut copy, &mut agent, &mut Meddling::default()).unwrap_err()
}

/// Everything that one TPM proves, stage by stage.
struct Proofs {
    ek: TrustedEk,
    ak: plastron_attestation_appraise::BoundAk,
    quote: VerifiedQuote,
}

fn prove(world: &World, tpm: &mut FakeTpm) -> Proofs {
    use plastron_attestation::{PcrSelection, TpmDevice};
    let template = EkTemplate::H3P384;
    let checks = &mut Checklist::new();
    let material = tpm.endorsement_key(template).unwrap();
    let evidence = EkEvidence {
        public: &material.public,
        certificate: material.certificate.as_deref(),
        intermediates: &material.chain,
    };
    let ek = TrustedEk::judge(evidence, &world.policy.pools, &world.policy.deny, NOW, checks).unwrap();
    let blob = tpm.create_attestation_key(template).unwrap();
    let ak = AcceptableAk::check(&blob.public, checks).unwrap();
    let entropy = CredentialEntropy { secret: Zeroizing::new([9; 32]), seed: Zeroizing::new([8; 48]) };
    let (pending, made) = PendingActivation::make(&ek, ak, entropy).unwrap();
    let secret = tpm.activate_credential(template, &blob, &made.id_object, &made.encrypted_secret).unwrap();
    let ak = pending.activated(&secret, checks).unwrap();
    let binding = Binding {
        purpose: Purpose::Enrol,
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        nonce: [1; 32],
        payload_sha256: vec![2; 32],
        challenge_sha256: vec![3; 32],
        svid_public_key: vec![4],
    };
    let asked = world.policy.pools[0].selection();
    let selection = PcrSelection(asked.iter().map(|bank| (bank.hash, bank.bitmap)).collect());
    let quote = tpm.quote(template, &blob, &binding.extra_data(), &selection).unwrap();
    let quote = VerifiedQuote::verify(&ak, &quote.attest, &quote.signature, &quote.pcr_values, asked, &binding, checks)
        .unwrap();
    Proofs { ek, ak, quote }
}

/// Threat 7, threat 10: proofs carry their subject, whoever combines them.
#[test]
fn proofs_about_two_tpms_do_not_combine() {
    let world = World::new();
    let pool = &world.policy.pools[0];
    let deny = &world.policy.deny;
    let judge = |ek: &Proofs, ak: &Proofs, quote: &Proofs| {
        let expected = Expected { pool, deny, history: History::New };
        Appraisal::judge(&ek.ek, &ak.ak, &quote.quote, None, expected, &mut Checklist::new())
    };
    let (a, b) = (prove(&world, &mut world.tpm()), prove(&world, &mut world.tpm()));
    for (ek, ak, quote) in [(&a, &b, &b), (&b, &a, &b), (&b, &b, &a)] {
        assert_eq!(judge(ek, ak, quote).unwrap_err().check(), Check::Subject);
    }
    let other_pool = plastron_attestation_appraise::Pool::new({
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        config.name = "other".into();
        config
    })
    .unwrap();
    let expected = Expected { pool: &other_pool, deny, history: History::New };
    let judged = Appraisal::judge(&a.ek, &a.ak, &a.quote, None, expected, &mut Checklist::new());
    assert_eq!(judged.unwrap_err().check(), Check::Subject);

    let (mut tpm, mut other) = (world.tpm(), world.tpm());
    for swapped in 0..4 {
        let (mut own, mut foreign) = (prove(&world, &mut tpm), prove(&world, &mut other));
        let judged = if swapped == 3 { &foreign } else { &own };
        let appraisal = judge(judged, judged, judged).unwrap();
        match swapped {
            0 => std::mem::swap(&mut own.ek, &mut foreign.ek),
            1 => std::mem::swap(&mut own.ak, &mut foreign.ak),
            2 => std::mem::swap(&mut own.quote, &mut foreign.quote),
            _ => {}
        }
        let Proofs { ek, ak, quote } = own;
        let admitted = AttestedNode::admit(ek, ak, quote, appraisal, Claims::default(), time(NOW), Checklist::new());
        assert_eq!(admitted.unwrap_err().0.check(), Check::Subject);
    }
    let appraisal = judge(&a, &a, &a).unwrap();
    let Proofs { ek, ak, quote } = a;
    assert!(AttestedNode::admit(ek, ak, quote, appraisal, Claims::default(), time(NOW), Checklist::new()).is_ok());
}

/// A record of one node can't bind the AK of another, nor stand in for the history of one that is new.
#[test]
fn a_record_is_about_its_own_tpm() {
    let mut world = World::new();
    let (mut tpm, _, node) = world.enrolled();
    let proofs = prove(&world, &mut world.tpm());
    let ak = AcceptableAk::check(&node.enrolled_tpm().ak_public, &mut Checklist::new()).unwrap();
    let bound = plastron_attestation_appraise::BoundAk::enrolled(
        &proofs.ek,
        ak.clone(),
        node.enrolled_tpm(),
        &mut Checklist::new(),
    );
    assert_eq!(bound.unwrap_err().check(), Check::Subject);
    let own = prove(&world, &mut tpm);
    let known = Arc::clone(&world.known[0].enrolled);
    let judged = Appraisal::judge(
        &proofs.ek,
        &proofs.ak,
        &proofs.quote,
        None,
        Expected {
            pool: &world.policy.pools[0],
            deny: &world.policy.deny,
            history: History::Known(Box::new((*known).clone())),
        },
        &mut Checklist::new(),
    );
    assert_eq!(judged.unwrap_err().check(), Check::Subject);
    assert_eq!(own.ek.fingerprint(), node.ek_fingerprint());
}
