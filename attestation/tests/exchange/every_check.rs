//! Each check has evidence that fails it and nothing else. A new `Check` without a fixture does not compile. Fixtures lie by what they
//! tamper with; those of the SVID's key in the TPM are in `resident`, those of revocation lists in `revocation`.

mod ak;
mod boot;
mod ek;
mod quote;
mod roca;
mod subjects;

use std::path::Path;

use plastron_attestation::{Payload, Refused, Response, Standing, VerifierEvent};
use plastron_attestation_appraise::Check;
use plastron_attestation_fake_tpm::{AttestedParts, FakeTpm};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes};
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};

use crate::resident;
use crate::world::{Meddling, NOW, World, assert_refused, time};

enum Fixture {
    /// Evidence that fails the check.
    Refused(fn() -> Box<Refused>),
    /// The test that shows the check where it is made, `path/file.rs::name`.
    Elsewhere(&'static str),
}

fn fixture(check: Check) -> Fixture {
    match check {
        Check::Malformed => Fixture::Refused(malformed),
        Check::UnknownPayload => Fixture::Refused(unknown_payload),
        Check::Sequence => Fixture::Refused(sequence),
        Check::JoinToken => Fixture::Elsewhere(
            "server/core/tests/all/audit.rs::attestations_and_changes_have_one_line_each_and_tokens_none",
        ),
        Check::CertificateLimits => Fixture::Elsewhere(
            "plugins/node-x509pop/tests/x509pop.rs::too_much_to_verify_is_refused_before_it_is_verified",
        ),
        Check::CertificatePath => Fixture::Elsewhere(
            "plugins/node-x509pop/tests/x509pop.rs::a_chain_that_leads_elsewhere_or_is_out_of_date_is_refused",
        ),
        Check::CertificateKeyUsage => Fixture::Elsewhere(
            "plugins/node-x509pop/tests/x509pop.rs::a_certificate_that_is_not_for_signatures_is_refused",
        ),
        Check::ClientAddress => {
            Fixture::Elsewhere("plugins/node-x509pop/tests/x509pop.rs::the_address_counts_where_the_policy_says_so")
        }
        Check::ProofOfPossession => {
            Fixture::Elsewhere("plugins/node-x509pop/tests/x509pop.rs::a_node_without_the_key_is_refused")
        }
        Check::AgentPath => {
            Fixture::Elsewhere("plugins/node-x509pop/tests/x509pop.rs::a_template_makes_no_id_of_another_kind_of_node")
        }
        Check::Standing => Fixture::Refused(standing),
        Check::DenyList => Fixture::Refused(ek::deny_list),
        Check::Pool => Fixture::Refused(ek::pool_gone),
        Check::EkTemplate => Fixture::Refused(ek::ek_template),
        Check::EkStrength => Fixture::Refused(ek::ek_strength),
        Check::EkCertificate => Fixture::Refused(ek::ek_certificate),
        Check::EkCertificateKey => Fixture::Refused(ek::ek_certificate_key),
        Check::EkBasicConstraints => Fixture::Refused(|| {
            ek::bad_certificate(|certificate| certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
        }),
        Check::EkKeyUsage => Fixture::Refused(|| {
            ek::bad_certificate(|certificate| certificate.key_usages = Some(vec![KeyUsagePurpose::DigitalSignature]))
        }),
        Check::EkExtendedKeyUsage => Fixture::Refused(|| {
            ek::bad_certificate(|certificate| certificate.extended_key_usages = vec![vec![2, 23, 133, 8, 2]])
        }),
        Check::EkTpmIdentity => Fixture::Refused(|| ek::bad_certificate(|certificate| certificate.identity[0] = None)),
        Check::EkCriticalExtension => Fixture::Refused(ek::ek_critical_extension),
        Check::EkValidity => {
            Fixture::Refused(|| ek::bad_certificate(|certificate| certificate.valid_years = (2000, 2025)))
        }
        Check::EkPath => Fixture::Refused(ek::ek_path),
        Check::EkPin => Fixture::Refused(ek::ek_pin),
        Check::EkRevocation => Fixture::Refused(crate::revocation::revoked_leaf),
        Check::AkAttributes => Fixture::Refused(ak::ak_attributes),
        Check::AkAlgorithm => Fixture::Refused(ak::ak_algorithm),
        Check::AkActivated => Fixture::Refused(ak::ak_activated),
        Check::ChallengeFresh => Fixture::Refused(|| meddled(Meddling { delay: 61, ..Meddling::default() })),
        Check::QuoteSignature => Fixture::Refused(quote::quote_signature),
        Check::QuoteMagic => Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.magic ^= 1))),
        Check::QuoteType => Fixture::Refused(quote::quote_type),
        Check::QuoteBinding => {
            Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.extra_data[31] ^= 1)))
        }
        Check::QualifiedSigner => {
            Fixture::Refused(|| forged(|tpm| tpm.before_signing(|attest| attest.qualified_signer[33] ^= 1)))
        }
        Check::PcrSelection => Fixture::Refused(quote::pcr_selection),
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
        Check::EventLogDigest => {
            Fixture::Elsewhere("attestation/tests/exchange/event_log.rs::another_log_than_the_announced_one_is_refused")
        }
        Check::GoldenPcr => Fixture::Refused(boot::golden_pcr),
        Check::BankNotExtended => Fixture::Refused(|| forged(|tpm| tpm.extend(HashAlgorithm::Sha256, 4, &[1; 32]))),
        Check::EventLogMissing => Fixture::Elsewhere(
            "attestation/appraise/tests/event_log.rs::no_log_is_refused_by_name_unless_the_pool_accepts_that",
        ),
        Check::EventLogBanks => Fixture::Elsewhere(
            "attestation/appraise/tests/event_log.rs::a_log_with_sha1_alone_is_refused_unless_the_pool_accepts_it",
        ),
        Check::EventLogReplay => {
            Fixture::Elsewhere("attestation/appraise/tests/event_log.rs::an_event_too_many_or_too_few_is_refused")
        }
        Check::Separators
        | Check::SecureBootEvents
        | Check::DebugMode
        | Check::LateBootApplication
        | Check::FactLimit => {
            Fixture::Elsewhere("attestation/appraise/tests/facts/judged.rs::what_refuses_says_which_event")
        }
        Check::SecureBoot => Fixture::Elsewhere(
            "attestation/appraise/tests/facts/judged.rs::the_state_of_secure_boot_is_what_the_pool_demands",
        ),
        Check::UnknownEvent => Fixture::Elsewhere(
            "attestation/appraise/tests/facts/judged.rs::an_unknown_type_refuses_where_the_pool_pins_the_pcr",
        ),
        Check::TpmStateRegressed => Fixture::Refused(boot::tpm_state_regressed),
        Check::ImaListMissing => Fixture::Refused(crate::ima::missing),
        Check::ImaList => Fixture::Refused(crate::ima::tampered_entry),
        Check::ImaBootAggregate => Fixture::Refused(crate::ima::another_boot),
        Check::Approval => {
            Fixture::Elsewhere("server/core/tests/all/pending.rs::a_new_node_waits_for_a_person_and_is_admitted_once")
        }
        Check::Subject => Fixture::Elsewhere(
            "attestation/tests/exchange/every_check/subjects.rs::proofs_about_two_tpms_do_not_combine",
        ),
    }
}

#[test]
fn every_check_refuses_its_fixture() {
    for check in Check::ALL {
        match fixture(*check) {
            Fixture::Refused(tampered) => assert_refused(&tampered(), *check),
            Fixture::Elsewhere(test) => assert_shown(*check, test),
        }
    }
}

/// The test is there, is run, and speaks of the check.
#[expect(clippy::disallowed_methods, reason = "what is read is the source of tests")]
fn assert_shown(check: Check, test: &str) {
    let (path, name) = test.split_once("::").unwrap();
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let (before, after) = source.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("{path} has no {name}"));
    let attributes = before.rsplit("\n}").next().unwrap();
    assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{test} is no test");
    let body = after.split("\n}").next().unwrap();
    let named = [format!("Check::{check:?}"), format!("{}=failed", check.name())];
    assert!(named.iter().any(|named| body.contains(named)), "{test} does not speak of {check:?}");
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
