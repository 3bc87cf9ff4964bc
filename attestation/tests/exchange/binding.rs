//! A quote serves one key, one server, one trust domain, one step of one conversation.

use std::sync::{Arc, Mutex};

use plastron_attestation::{Challenge, Response};
use plastron_attestation_appraise::{Check, GoldenPcr};
use plastron_attestation_fake_tpm::AttestedParts;
use plastron_attestation_tcg::{HashAlgorithm, PcrBank};

use crate::world::{Agent, Meddling, World, assert_refused};

/// Threat 13
#[test]
fn a_quote_for_another_trust_domain_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let meddling = Meddling { agent_trust_domain: "example.com", ..Meddling::default() };
    assert_refused(&world.refusal(&mut tpm, meddling), Check::QuoteBinding);
}

/// A machine in the middle shows its own CSR and relays the rest.
#[test]
fn a_relayed_conversation_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let meddling = Meddling { agent_svid_key: b"the victim's own key", ..Meddling::default() };
    assert_refused(&world.refusal(&mut tpm, meddling), Check::QuoteBinding);
}

/// Threat 13
#[test]
fn a_replayed_quote_is_refused() {
    let mut world = World::new();
    let (mut tpm, mut agent, _) = world.enrolled();
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let tape = Arc::clone(&recorded);
    let record = move |bytes: Vec<u8>| {
        *tape.lock().unwrap() = bytes.clone();
        bytes
    };
    world.converse(&mut tpm, &mut agent, &mut Meddling { response: Box::new(record), ..Meddling::default() }).unwrap();
    let replay = move |_| recorded.lock().unwrap().clone();
    let refused = world
        .converse(&mut tpm, &mut agent, &mut Meddling { response: Box::new(replay), ..Meddling::default() })
        .unwrap_err();
    assert_refused(&refused, Check::QuoteBinding);
    assert_eq!(refused.node(), None, "a replay proves nothing about the node now");
}

#[test]
fn a_quote_over_another_nonce_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let change = |bytes: Vec<u8>| {
        let mut challenge = Challenge::decode(&bytes).unwrap();
        challenge.nonce[0] ^= 1;
        challenge.encode()
    };
    let meddling = Meddling { challenge: Box::new(change), ..Meddling::default() };
    assert_refused(&world.refusal(&mut tpm, meddling), Check::QuoteBinding);
}

/// Threat 3: CVE-2022-0317. Threat 5: CVE-2024-29039. Whatever the selection, it is signed with a good binding.
#[test]
fn another_selection_is_refused() {
    let forgeries: [fn(&mut Vec<PcrBank>); 6] = [
        |select| select.clear(),
        |select| select[1].bitmap = 0b11,
        |select| select[1].bitmap |= 1 << 16,
        |select| select.truncate(2),
        |select| select[2] = select[1],
        |select| select.swap(1, 2),
    ];
    for forge in forgeries {
        let mut world = World::new();
        let mut tpm = world.tpm();
        tpm.before_signing(move |attest| {
            if let AttestedParts::Quote { select, .. } = &mut attest.attested {
                forge(select);
            }
        });
        assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::PcrSelection);
    }
}

/// An agent that asks its TPM for fewer banks leaves a bank out; the challenge, and so the binding, is the server's all the same.
#[test]
fn a_bank_left_out_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.before_signing(|attest| {
        if let AttestedParts::Quote { select, digest } = &mut attest.attested {
            // sha384 shown as if it were not allocated: the values that are left no longer match what was hashed.
            select[2].bitmap = 0;
            let zeros: Vec<Vec<u8>> = [20, 32].iter().flat_map(|len| vec![vec![0; *len]; 11]).collect();
            *digest = HashAlgorithm::Sha256.digest(zeros.iter().map(Vec::as_slice));
        }
    });
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::PcrValues);
}

#[test]
fn trailing_bytes_in_what_was_signed_are_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.before_signing(|attest| attest.trailing.push(0));
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::Malformed);
}

fn golden(bank: HashAlgorithm, index: u8, value: Vec<u8>) -> GoldenPcr {
    GoldenPcr { bank, index, value }
}

#[test]
fn golden_values_are_demanded_of_every_allocated_bank() {
    let mut reference = World::new().tpm();
    reference.measure(0, b"firmware");
    let value = |bank: HashAlgorithm| reference.pcr(bank, 0).unwrap().to_vec();
    let both = vec![
        golden(HashAlgorithm::Sha256, 0, vec![0; 32]),
        golden(HashAlgorithm::Sha256, 0, value(HashAlgorithm::Sha256)),
        golden(HashAlgorithm::Sha384, 0, value(HashAlgorithm::Sha384)),
    ];

    let mut world = World::with_pool(|config| config.golden_pcrs = both.clone());
    let mut tpm = world.tpm();
    tpm.measure(0, b"firmware");
    world.admit(&mut tpm, &mut Agent::default()).unwrap();

    let mut tpm = world.tpm();
    tpm.measure(0, b"other firmware");
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::GoldenPcr);
    assert!(refused.node().is_some(), "the AK signed for this conversation");

    // sha512 is allocated too, and nothing says what it should be.
    let mut tpm = world.tpm();
    tpm.allocate(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]);
    tpm.measure(0, b"firmware");
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::GoldenPcr);
}

/// CVE-2021-42299 (TPM Carte Blanche): firmware extended sha256 only, and user space filled sha384 with what it likes.
#[test]
fn carte_blanche() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.allocate(&[HashAlgorithm::Sha256, HashAlgorithm::Sha384]);
    tpm.extend(HashAlgorithm::Sha256, 0, &[1; 32]);
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::BankNotExtended);
}

/// Threat 1: whatever is changed in the response is covered by a signature, a digest or the credential.
#[test]
fn no_part_of_a_response_can_be_changed() {
    let mut world = World::new();
    let (mut tpm, mut agent, _) = world.enrolled();
    let len = Arc::new(Mutex::new(0));
    let measure = Arc::clone(&len);
    let look = move |bytes: Vec<u8>| {
        *measure.lock().unwrap() = bytes.len();
        bytes
    };
    world.converse(&mut tpm, &mut agent, &mut Meddling { response: Box::new(look), ..Meddling::default() }).unwrap();
    let len = *len.lock().unwrap();
    for at in (0..len - 4).step_by(3) {
        let flip = move |mut bytes: Vec<u8>| {
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            bytes
        };
        let mut meddling = Meddling { response: Box::new(flip), ..Meddling::default() };
        assert!(world.converse(&mut tpm, &mut agent, &mut meddling).is_err(), "byte {at}");
    }
}

/// Threat 11: after a refusal nothing brings the conversation back, whatever was wrong.
#[test]
fn a_refused_conversation_is_over() {
    use plastron_attestation::VerifierEvent;
    let world = World::new();
    let events: [fn() -> VerifierEvent<'static>; 3] = [
        || VerifierEvent::Payload(b"PLTP\x02"),
        || VerifierEvent::Response(b"PLTP\x02"),
        || VerifierEvent::Known { by_ak: None, by_ek: None },
    ];
    for first in events {
        let mut verifier = world.verifier();
        verifier.step(first(), crate::world::time(world.now)).unwrap_err();
        for later in events {
            let refused = verifier.step(later(), crate::world::time(world.now)).unwrap_err();
            assert_refused(&refused, Check::Sequence);
        }
    }
}

#[test]
fn a_secret_that_was_not_asked_for_is_refused() {
    let mut world = World::new();
    let (mut tpm, mut agent, _) = world.enrolled();
    let add = |bytes: Vec<u8>| {
        let mut response = Response::decode(&bytes).unwrap();
        response.secret = Some(zeroize::Zeroizing::new(vec![0; 32]));
        response.encode()
    };
    let mut meddling = Meddling { response: Box::new(add), ..Meddling::default() };
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err(), Check::Sequence);
}
