//! The key of the SVID in the TPM: certified once by the AK, in the conversation that is bound to it, and by the record from then on.

use plastron_attestation::{
    AttesterAction, AttesterEvent, CertifyBytes, CertifyRequest, Challenge, EkTemplate, Payload, Refused, Response,
    TpmSvidKeys, VerifierEvent, perform, perform_certify,
};
use plastron_attestation_appraise::{
    AppraiseError, AttestedNode, Check, CheckOutcome, Checklist, ClaimedResidentKey, spki_of_public_area,
};
use plastron_attestation_fake_tpm::{AttestParts, AttestedParts};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes};

use crate::world::{Agent, Meddling, SVID_KEY, World, assert_refused, send, time};

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

fn is_resident(node: &AttestedNode) -> bool {
    let selectors: Vec<_> = node.selectors().iter().map(ToString::to_string).collect();
    assert!(selectors.contains(&"tpm:key_bound:true".to_owned()));
    selectors.contains(&"tpm:key_resident:true".to_owned())
}

/// A conversation whose certification is forged before the AK signs it, or whose messages are changed.
pub(crate) fn forged(forge: fn(&mut AttestParts)) -> Box<Refused> {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    tpm.before_signing(move |attest| {
        if attest.attest_type == 0x8017 {
            forge(attest);
        }
    });
    world.admit(&mut tpm, &mut agent).unwrap_err()
}

pub(crate) fn meddled(mut meddling: Meddling) -> Box<Refused> {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err()
}

pub(crate) fn in_response(change: fn(&mut Response)) -> Meddling {
    Meddling {
        response: Box::new(move |bytes| {
            let mut response = Response::decode(&bytes).unwrap();
            change(&mut response);
            response.encode()
        }),
        ..Meddling::default()
    }
}

/// A key with other attributes, which the AK would certify all the same.
pub(crate) fn with_attributes(change: fn(ObjectAttributes) -> ObjectAttributes) -> Box<Refused> {
    let good = [
        ObjectAttributes::SIGN_ENCRYPT,
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::USER_WITH_AUTH,
    ];
    let good = good.into_iter().reduce(ObjectAttributes::with).unwrap();
    let mut world = World::new();
    let mut tpm = world.tpm();
    tpm.set_svid_key_attributes(change(good));
    let key = tpm.create_svid_key(TEMPLATE).unwrap();
    world.csr_key = spki_of_public_area(&key.public).unwrap();
    world.admit(&mut tpm, &mut Agent { svid_key: Some(key), ..Agent::default() }).unwrap_err()
}

/// The payload shows the public area of one key in the TPM, and the CSR is for another.
pub(crate) fn another_key() -> Box<Refused> {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    let other = tpm.create_svid_key(TEMPLATE).unwrap();
    let mut shows_other = Meddling {
        payload: Box::new(move |bytes| {
            let mut payload = Payload::decode(&bytes).unwrap();
            payload.svid_key = Some(other.public.clone());
            payload.encode()
        }),
        ..Meddling::default()
    };
    world.converse(&mut tpm, &mut agent, &mut shows_other).unwrap_err()
}

/// The TPM is reset between certification and quote.
pub(crate) fn reset_between() -> Box<Refused> {
    forged(|attest| attest.reset_count -= 1)
}

#[test]
fn a_resident_key_is_certified_once_and_known_from_then_on() {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    let seen = std::rc::Rc::new(std::cell::Cell::new(None));
    let in_challenge = std::rc::Rc::clone(&seen);
    let mut meddling = Meddling {
        challenge: Box::new(move |bytes| {
            in_challenge.set(Some(Challenge::decode(&bytes).unwrap().certification_wanted));
            bytes
        }),
        ..Meddling::default()
    };
    for (round, certified) in [true, false, false].into_iter().enumerate() {
        let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
        assert!(is_resident(&node), "{round}");
        assert_eq!(seen.get(), Some(certified), "{round}");
        assert_eq!(node.enrolled_tpm().resident_svid_key.as_ref(), Some(&world.csr_key));
        let record = node.records().iter().find(|record| record.check == Check::CertifyName).unwrap();
        assert_eq!(record.outcome, CheckOutcome::Passed);
        assert!(record.detail.starts_with("svid_key: in the TPM"), "{}", record.detail);
        tpm.reboot();
    }

    // Another key of the same TPM has to be certified itself; and one in memory is no resident key, though the AK is known.
    let other = tpm.create_svid_key(TEMPLATE).unwrap();
    world.csr_key = spki_of_public_area(&other.public).unwrap();
    agent.svid_key = Some(other);
    assert!(is_resident(&world.converse(&mut tpm, &mut agent, &mut meddling).unwrap()));
    assert_eq!(seen.get(), Some(true));
    world.csr_key = SVID_KEY.to_vec();
    agent.svid_key = None;
    let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert!(!is_resident(&node));
    assert_eq!(node.enrolled_tpm().resident_svid_key, None);
}

/// What one AK certified, another AK has to certify again: a record's proof is that of its AK.
#[test]
fn another_ak_certifies_anew() {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    world.admit(&mut tpm, &mut agent).unwrap();
    agent.ak = None;
    let mut withheld = in_response(|response| response.certification = None);
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut withheld).unwrap_err(), Check::CertifySignature);
    // Without the claim it is a key like any other.
    let mut unclaimed = Agent { svid_key: None, ..Agent::default() };
    let spki: &'static [u8] = world.csr_key.clone().leak();
    let mut meddling = Meddling { agent_svid_key: spki, ..Meddling::default() };
    assert!(!is_resident(&world.converse(&mut tpm, &mut unclaimed, &mut meddling).unwrap()));
}

#[test]
fn every_attribute_counts() {
    use ObjectAttributes as A;
    for change in [
        (|good| A(good.0 & !A::SIGN_ENCRYPT.0)) as fn(A) -> A,
        |good| A(good.0 & !A::FIXED_TPM.0),
        |good| A(good.0 & !A::FIXED_PARENT.0),
        |good| A(good.0 & !A::SENSITIVE_DATA_ORIGIN.0),
        |good| good.with(A::RESTRICTED),
        |good| good.with(A::DECRYPT),
    ] {
        assert_refused(&with_attributes(change), Check::SvidKeyAttributes);
    }
}

/// A certification names the key by a hash of its public area, so that a hash with collisions would let one key stand for another.
#[test]
fn a_name_by_sha1_certifies_nothing() {
    let world = World::new();
    let mut public = world.tpm().create_svid_key(TEMPLATE).unwrap().public;
    let spki = spki_of_public_area(&public).unwrap();
    ClaimedResidentKey::check(&public, &spki, &mut Checklist::new()).unwrap();
    // nameAlg follows the type.
    public[2..4].copy_from_slice(&HashAlgorithm::Sha1.id().to_be_bytes());
    let error = ClaimedResidentKey::check(&public, &spki, &mut Checklist::new()).unwrap_err();
    assert_eq!(error, AppraiseError::SvidKeyNameAlg { got: HashAlgorithm::Sha1 });
    assert_eq!(error.check(), Check::SvidKeyAttributes);
}

/// Threat 13: a certification serves the conversation that it was made for, and a quote is none.
#[test]
fn certifications_of_two_conversations_do_not_mix() {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    let recorded = std::rc::Rc::new(std::cell::RefCell::new(None));
    let kept = std::rc::Rc::clone(&recorded);
    let mut record = Meddling {
        response: Box::new(move |bytes| {
            *kept.borrow_mut() = Response::decode(&bytes).unwrap().certification;
            bytes
        }),
        ..Meddling::default()
    };
    world.converse(&mut tpm, &mut agent, &mut record).unwrap();
    let old: CertifyBytes = recorded.borrow().clone().unwrap();
    world.known.clear();
    let mut replay = Meddling {
        response: Box::new(move |bytes| {
            let mut response = Response::decode(&bytes).unwrap();
            response.certification = Some(old.clone());
            response.encode()
        }),
        ..Meddling::default()
    };
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut replay).unwrap_err(), Check::CertifyBinding);
    // The quote of the very same conversation in the place of the certification, and the other way round.
    let mut quote_for_it = in_response(|response| {
        let (attest, signature) = (response.attest.clone(), response.signature.clone());
        response.certification = Some(CertifyBytes { attest, signature });
    });
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut quote_for_it).unwrap_err(), Check::CertifyType);
    let mut for_quote = in_response(|response| {
        let CertifyBytes { attest, signature } = response.certification.clone().unwrap();
        (response.attest, response.signature) = (attest, signature);
    });
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut for_quote).unwrap_err(), Check::QuoteType);
}

#[test]
fn a_certification_that_was_not_asked_for_is_refused() {
    let mut world = World::new();
    let mut unasked = in_response(|response| {
        response.certification = Some(CertifyBytes { attest: vec![1], signature: vec![2] });
    });
    let refused = world.converse(&mut world.tpm(), &mut Agent::default(), &mut unasked).unwrap_err();
    assert_refused(&refused, Check::Sequence);
}

/// Every bit of the certification counts.
///
/// Threat 1
#[test]
fn no_part_of_a_certification_can_be_changed() {
    let mut world = World::new();
    let (mut tpm, mut agent) = world.resident();
    for at in (0..140).step_by(3) {
        let mut flipped = Meddling {
            response: Box::new(move |bytes| {
                let mut response = Response::decode(&bytes).unwrap();
                let certification = response.certification.as_mut().unwrap();
                let at = at % certification.attest.len();
                certification.attest[at] ^= 1;
                response.encode()
            }),
            ..Meddling::default()
        };
        let refused = world.converse(&mut tpm, &mut agent, &mut flipped).unwrap_err();
        assert_refused(&refused, Check::CertifySignature);
    }
}

/// The attacker has two machines: its agent shows the key of one, and has the TPM of the other certify a key of its own.
///
/// Threat 7
#[test]
fn a_key_of_another_tpm_is_not_resident() {
    let mut world = World::new();
    let (mut tpm, own) = world.resident();
    let own = own.svid_key.unwrap();
    let (_, agent) = world.resident();
    let (mut attester, mut verifier) = (agent.attester(TEMPLATE, &Meddling::default()), world.verifier());
    let payload = send(&mut attester, &mut tpm, TEMPLATE, AttesterEvent::Begin);
    let challenge = world.challenge(&mut verifier, &payload).unwrap();
    let mut action = attester.step(AttesterEvent::Challenge(&challenge)).unwrap();
    let response = loop {
        let reply = match action {
            AttesterAction::Send(bytes) => break bytes,
            AttesterAction::Tpm(request) => perform(&mut tpm, TEMPLATE, request).unwrap(),
            AttesterAction::Certify(request) => {
                perform_certify(&mut tpm, TEMPLATE, CertifyRequest { key: own.clone(), ..request }).unwrap()
            }
            other => panic!("{other:?}"),
        };
        action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
    };
    let refused = verifier.step(VerifierEvent::Response(&response), time(world.now)).unwrap_err();
    assert_refused(&refused, Check::CertifyName);
}

/// The certified Name is the one that the server computes from the public area.
pub(crate) fn another_name() -> Box<Refused> {
    forged(|attest| {
        if let AttestedParts::Certify { name, .. } = &mut attest.attested {
            name[33] ^= 1;
        }
    })
}
