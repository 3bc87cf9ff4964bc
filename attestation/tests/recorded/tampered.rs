//! Real evidence with one thing changed, for every check that such a change can fail. What only another signature by a TPM could show,
//! `exchange::every_check` shows with a TPM in memory.

use std::collections::BTreeSet;

use plastron_attestation::{CertifyBytes, EkTemplate, Payload, Refused, Response, Standing, VerifierEvent};
use plastron_attestation_appraise::{Check, DeniedEk, DenyList, EkFingerprint, GoldenPcr, Pool, PoolConfig};
use plastron_attestation_tcg::HashAlgorithm;
use zeroize::Zeroizing;

use crate::evidence::{Messages, anchors, read, row, rows};
use crate::index::Row;
use crate::server::{Server, pool_config, time};
use crate::stages::Stages;

/// Recordings are of TPMs.
const NO_DOCUMENT: &str = "no evidence of a TPM";

/// Checks that no change to a recording can fail and nothing else before, and why.
const NOT_FROM_RECORDINGS: &[(Check, &str)] = &[
    (Check::JoinToken, "no evidence of a TPM"),
    (Check::CertificateLimits, NO_DOCUMENT),
    (Check::CertificatePath, NO_DOCUMENT),
    (Check::CertificateKeyUsage, NO_DOCUMENT),
    (Check::ClientAddress, NO_DOCUMENT),
    (Check::ProofOfPossession, NO_DOCUMENT),
    (Check::AgentPath, NO_DOCUMENT),
    (Check::QuoteMagic, "a TPM signs no other magic, and whoever changes it breaks the signature first"),
    (Check::QualifiedSigner, "a TPM states no other parent of its AK"),
    (Check::EkRevocation, "a list that revokes has to be signed by the manufacturer"),
    (Check::FactLimit, "a log of that length would be most of what is recorded"),
    (Check::ImaListMissing, NO_IMA),
    (Check::ImaList, NO_IMA),
    (Check::ImaBootAggregate, NO_IMA),
    (Check::Subject, "only whoever combines proofs can break it"),
    (Check::Approval, "a person decides it, whatever the evidence says"),
    (Check::CertifyMagic, "a TPM signs no other magic, and whoever changes it breaks the signature first"),
    (Check::CertifySigner, "a TPM states no other parent of its AK"),
];

/// What was recorded are firmware's boots, before any kernel.
const NO_IMA: &str = "no recorded machine runs a kernel with IMA";

type Tampered = fn() -> Check;

/// Check, and what is changed to fail it.
const TAMPERED: &[(Check, Tampered)] = &[
    (Check::Malformed, || in_payload_bytes(|bytes| bytes.truncate(bytes.len() - 1))),
    (Check::UnknownPayload, || in_payload_bytes(|bytes| bytes[0] ^= 1)),
    (Check::Sequence, sequence),
    (Check::Standing, || renew(|server| server.standing = Standing::Banned { reason: "stolen".into() })),
    (Check::DenyList, deny_list),
    (Check::Pool, || enrol(|server, _| server.policy.pools.clear())),
    (Check::EkTemplate, || with_pool(|config| config.ek_template = EkTemplate::L2P256)),
    (Check::EkStrength, ek_strength),
    (Check::EkCertificate, || in_payload(|payload| payload.ek_certificate = None)),
    (Check::EkCertificateKey, ek_certificate_key),
    (Check::EkBasicConstraints, || in_certificate(&NOT_A_CA, &A_CA)),
    (Check::EkKeyUsage, || in_certificate(&KEY_AGREEMENT, &DIGITAL_SIGNATURE)),
    (Check::EkExtendedKeyUsage, || in_certificate(&[0x67, 0x81, 0x05, 0x08, 0x01], &[0x67, 0x81, 0x05, 0x08, 0x03])),
    (Check::EkTpmIdentity, || in_certificate(&[0x67, 0x81, 0x05, 0x02, 0x01], &[0x67, 0x81, 0x05, 0x02, 0x09])),
    (Check::EkCriticalExtension, || in_certificate(&[0x55, 0x1d, 0x11, 0x01, 0x01], &[0x55, 0x1d, 0x63, 0x01, 0x01])),
    (Check::EkValidity, too_early),
    (Check::EkPath, ek_path),
    (Check::EkPin, ek_pin),
    (Check::AkAttributes, || in_payload(|payload| payload.ak_public[5] ^= 1)),
    (Check::AkAlgorithm, || in_payload(|payload| payload.ak_public[14..16].copy_from_slice(&4u16.to_be_bytes()))),
    (Check::AkActivated, || in_response(|response| response.secret = Some(Zeroizing::new(vec![0; 32])))),
    (Check::ChallengeFresh, too_late),
    (Check::QuoteSignature, || in_response(|response| *response.attest.last_mut().unwrap() ^= 1)),
    (Check::QuoteType, quote_type),
    (Check::QuoteBinding, quote_binding),
    (Check::PcrSelection, pcr_selection),
    (Check::PcrValues, || in_response(|response| drop(response.pcr_values.pop()))),
    (Check::PcrDigest, || in_response(|response| response.pcr_values[3][0] ^= 1)),
    (Check::SvidKeyAttributes, svid_key_attributes),
    (Check::SvidKeyPublic, || resident(|server, _| server.csr_key.push(0))),
    (Check::CertifySignature, || certified(|_, certification| *certification.attest.last_mut().unwrap() ^= 1)),
    (Check::CertifyType, || certified(|quote, certification| certification.clone_from(quote))),
    (Check::CertifyBinding, certify_binding),
    (Check::EventLogDigest, || in_response(|response| response.event_log.as_mut().unwrap()[100] ^= 1)),
    (Check::GoldenPcr, || with_pool(golden)),
    (Check::UnknownEvent, unknown_event),
    (Check::SecureBoot, || with_pool(|config| config.boot.secure_boot = Some(false))),
];

/// A critical extension with basicConstraints `CA: false`, and one that is not critical with `CA: true`, which is as long.
const NOT_A_CA: [u8; 10] = [0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00];
const A_CA: [u8; 10] = [0x55, 0x1d, 0x13, 0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff];

/// BIT STRINGs of keyUsage.
const KEY_AGREEMENT: [u8; 4] = [0x03, 0x02, 0x03, 0x08];
const DIGITAL_SIGNATURE: [u8; 4] = [0x03, 0x02, 0x07, 0x80];

/// Every check is failed by real evidence: as it was recorded, or with one thing changed. A new check has to have its line here.
#[test]
fn every_check_that_a_recording_can_fail_is_failed_by_one() {
    let mut failed: BTreeSet<Check> = NOT_FROM_RECORDINGS.iter().map(|(check, _)| *check).collect();
    let recorded = rows().into_iter().map(|row| row.expected);
    failed.extend(recorded.filter_map(|name| Check::ALL.iter().copied().find(|check| check.name() == name)));
    for (check, tampered) in TAMPERED {
        assert_eq!(tampered(), *check);
        failed.insert(*check);
    }
    let missing: Vec<&Check> = Check::ALL.iter().filter(|check| !failed.contains(check)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The enrolment that is tampered with: of a P-384 EK, so that it can be replayed whole.
fn enrolment() -> (Row, Messages) {
    let row = row("p384", "enrol");
    let messages = Messages::of(&row);
    (row, messages)
}

/// What refuses the enrolment after this change.
fn enrol(change: impl FnOnce(&mut Server, &mut Messages)) -> Check {
    let (row, mut messages) = enrolment();
    let mut server = Server::new(&row, &messages.payload, anchors());
    change(&mut server, &mut messages);
    judge(&mut server, &row, &messages).unwrap_err().check()
}

fn judge(server: &mut Server, row: &Row, messages: &Messages) -> Result<(), Box<Refused>> {
    let mut verifier = server.verifier(row);
    server.challenge(&mut verifier, &messages.payload, row.time)?;
    server.conclude(&mut verifier, &messages.response, row.time).map(drop)
}

fn in_payload_bytes(change: fn(&mut Vec<u8>)) -> Check {
    enrol(|_, messages| change(&mut messages.payload))
}

fn in_payload(change: fn(&mut Payload)) -> Check {
    enrol(|_, messages| {
        let mut payload = Payload::decode(&messages.payload).unwrap();
        change(&mut payload);
        messages.payload = payload.encode();
    })
}

fn in_response(change: fn(&mut Response)) -> Check {
    enrol(|_, messages| {
        let mut response = Response::decode(&messages.response).unwrap();
        change(&mut response);
        messages.response = response.encode();
    })
}

/// Changes the certificate's bytes in place, before anybody looks at its signature.
fn in_certificate(from: &[u8], to: &[u8]) -> Check {
    enrol(|_, messages| {
        let mut payload = Payload::decode(&messages.payload).unwrap();
        let certificate = payload.ek_certificate.as_mut().unwrap();
        let at = certificate.windows(from.len()).position(|window| window == from).unwrap();
        certificate.splice(at..at + from.len(), to.iter().copied());
        messages.payload = payload.encode();
    })
}

fn with_pool(change: impl FnOnce(&mut PoolConfig)) -> Check {
    let (row, messages) = enrolment();
    let mut config = pool_config(&row, &messages.payload, anchors());
    change(&mut config);
    enrol(|server, _| server.policy.pools = vec![Pool::new(config).unwrap()])
}

/// What refuses the renewal of a machine that enrolled.
fn renew(change: impl FnOnce(&mut Server)) -> Check {
    let (enrolled, renewed) = (row("p384", "enrol"), row("p384", "renew"));
    let messages = Messages::of(&enrolled);
    let mut server = Server::new(&enrolled, &messages.payload, anchors());
    judge(&mut server, &enrolled, &messages).unwrap();
    change(&mut server);
    judge(&mut server, &renewed, &Messages::of(&renewed)).unwrap_err().check()
}

fn sequence() -> Check {
    let (row, messages) = enrolment();
    let server = Server::new(&row, &messages.payload, anchors());
    server.verifier(&row).step(VerifierEvent::Response(&messages.response), time(row.time)).unwrap_err().check()
}

fn deny_list() -> Check {
    enrol(|server, messages| {
        let public = Payload::decode(&messages.payload).unwrap().ek_public;
        let denied = DeniedEk { fingerprint: EkFingerprint::of_bytes(&public).unwrap(), reason: "recalled".into() };
        server.policy.deny = DenyList { keys: vec![denied], ..DenyList::default() };
    })
}

/// A point that is not on its curve.
fn ek_strength() -> Check {
    in_payload(|payload| *payload.ek_public.last_mut().unwrap() ^= 1)
}

/// The certificate of another TPM of the same manufacturer.
fn ek_certificate_key() -> Check {
    enrol(|_, messages| {
        let other = Payload::decode(&Messages::of(&row("life", "enrol")).payload).unwrap();
        let mut payload = Payload::decode(&messages.payload).unwrap();
        payload.ek_certificate = other.ek_certificate;
        messages.payload = payload.encode();
    })
}

/// The last byte of a certificate is its signature's.
fn ek_path() -> Check {
    in_payload(|payload| *payload.ek_certificate.as_mut().unwrap().last_mut().unwrap() ^= 1)
}

/// The pin of another EK.
fn ek_pin() -> Check {
    let other = row("p256", "enrol");
    let pinned = pool_config(&other, &Messages::of(&other).payload, anchors()).ek_trust;
    with_pool(|config| config.ek_trust = pinned)
}

/// A verifier before the manufacturer made the TPM.
fn too_early() -> Check {
    let (mut row, messages) = enrolment();
    let mut server = Server::new(&row, &messages.payload, anchors());
    row.time = 0;
    judge(&mut server, &row, &messages).unwrap_err().check()
}

fn too_late() -> Check {
    let (row, messages) = enrolment();
    let mut server = Server::new(&row, &messages.payload, anchors());
    let mut verifier = server.verifier(&row);
    server.challenge(&mut verifier, &messages.payload, row.time).unwrap();
    server.conclude(&mut verifier, &messages.response, row.time + 61).unwrap_err().check()
}

/// What the AK signed about another key, shown as a quote.
fn quote_type() -> Check {
    let certification = |part: &str| read(&format!("p384.svid-key.{part}"));
    enrol(|_, messages| {
        let mut response = Response::decode(&messages.response).unwrap();
        response.attest = certification("attest");
        response.signature = certification("signature");
        messages.response = response.encode();
    })
}

/// The enrolment of a machine whose TPM has the key of its SVID, with a P-256 EK that its pool pins.
fn resident(change: impl FnOnce(&mut Server, &mut Messages)) -> Check {
    let row = row("resident", "enrol");
    let mut messages = Messages::of(&row);
    let mut server = Server::new(&row, &messages.payload, anchors());
    change(&mut server, &mut messages);
    judge(&mut server, &row, &messages).unwrap_err().check()
}

/// That enrolment, with another certification of the key. The change is shown the quote.
fn certified(change: impl FnOnce(&CertifyBytes, &mut CertifyBytes)) -> Check {
    resident(|_, messages| {
        let mut response = Response::decode(&messages.response).unwrap();
        let quote = CertifyBytes { attest: response.attest.clone(), signature: response.signature.clone() };
        change(&quote, response.certification.as_mut().unwrap());
        messages.response = response.encode();
    })
}

/// A key that may leave its TPM: without fixedTPM, which is bit 1 of the attributes behind type and nameAlg.
fn svid_key_attributes() -> Check {
    resident(|_, messages| {
        let mut payload = Payload::decode(&messages.payload).unwrap();
        payload.svid_key.as_mut().unwrap()[7] ^= 1 << 1;
        messages.payload = payload.encode();
    })
}

/// What the same AK certified in another conversation.
fn certify_binding() -> Check {
    let later = Response::decode(&Messages::of(&row("resident", "new-key")).response).unwrap();
    certified(|_, certification| *certification = later.certification.unwrap())
}

/// An answer for another SVID key.
fn quote_binding() -> Check {
    let (row, messages) = enrolment();
    let server = Server::new(&row, &messages.payload, anchors());
    let mut stages = Stages::of(&server, &row, &messages).unwrap();
    stages.binding.svid_public_key.push(0);
    stages.quote(&stages.asked).unwrap_err().check()
}

/// A pool that wanted one more PCR.
fn pcr_selection() -> Check {
    let (row, messages) = enrolment();
    let server = Server::new(&row, &messages.payload, anchors());
    let stages = Stages::of(&server, &row, &messages).unwrap();
    let mut asked = stages.asked.clone();
    asked[1].bitmap |= 1 << 10;
    stages.quote(&asked).unwrap_err().check()
}

/// The values that the machine has are golden, and how PCR 4 came by its own nobody knows.
fn unknown_event() -> Check {
    let row = row("unknown-event", "enrol");
    let messages = Messages::of(&row);
    let values = Response::decode(&messages.response).unwrap().pcr_values;
    let mut config = pool_config(&row, &messages.payload, anchors());
    // Eleven PCRs of three banks, PCR 4 the fifth of each.
    for (bank, at) in [(HashAlgorithm::Sha256, 15), (HashAlgorithm::Sha384, 26)] {
        config.golden_pcrs.push(GoldenPcr { bank, index: 4, value: values[at].clone() });
    }
    let mut server = Server::new(&row, &messages.payload, anchors());
    server.policy.pools = vec![Pool::new(config).unwrap()];
    judge(&mut server, &row, &messages).unwrap_err().check()
}

fn golden(config: &mut PoolConfig) {
    let golden = |bank: HashAlgorithm| GoldenPcr { bank, index: 7, value: vec![0; bank.digest_len()] };
    config.golden_pcrs = vec![golden(HashAlgorithm::Sha256), golden(HashAlgorithm::Sha384)];
}
