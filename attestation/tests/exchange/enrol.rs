//! Enrolment: what a good TPM gets, and what is refused of the EK, the AK and the credential.

use plastron_attestation::{EkTemplate, Payload, Response, Standing};
use plastron_attestation_appraise::{Check, CheckOutcome, EkFingerprint, EnrolledTpm};
use plastron_attestation_fake_tpm::{AkAlgorithm, FakeTpm};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes};

use crate::world::{Agent, Meddling, NOW, SVID_KEY, World, assert_refused};

#[test]
fn every_kind_of_ek_and_ak_is_admitted() {
    for template in EkTemplate::ALL {
        for algorithm in [AkAlgorithm::P256, AkAlgorithm::Rsa2048] {
            let mut world = World::with_pool(|config| config.ek_template = template);
            let mut tpm = FakeTpm::new(&world.manufacturer, template);
            tpm.set_ak_algorithm(algorithm);
            let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
            let fingerprint = EkFingerprint::of_bytes(&tpm.ek_public()).unwrap();
            assert_eq!(node.agent_path(), format!("/spire/agent/tpm/{fingerprint}"));
            assert!(node.records().iter().all(|record| record.outcome != CheckOutcome::Failed));
        }
    }
}

#[test]
fn an_admission_says_what_it_proved() {
    let mut world = World::with_pool(|config| config.selector_pcrs = vec![7]);
    let mut tpm = world.tpm();
    tpm.measure(7, b"Secure Boot on");
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let selectors: Vec<_> = node.selectors().iter().map(ToString::to_string).collect();
    let pcr = tpm.pcr(HashAlgorithm::Sha256, 7).map(hex::encode).unwrap();
    assert_eq!(
        selectors,
        [
            format!("tpm:ek:{}", node.ek_fingerprint()),
            "tpm:pool:metal".to_owned(),
            "tpm:key_bound:true".to_owned(),
            "tpm:manufacturer:PLST".to_owned(),
            format!("tpm:pcr:sha256:7:{pcr}"),
        ]
    );
    assert_eq!((node.pool(), node.svid_public_key()), ("metal", SVID_KEY));
    assert!(node.judged_against().is_none());
    let EnrolledTpm { ek_public, state, claimed, enrolled_at, attested_at, retired_ak_names, .. } = node.enrolled_tpm();
    assert_eq!(*ek_public, tpm.ek_public());
    assert_eq!((*enrolled_at, *attested_at, state.reset_count, state.safe), (NOW, NOW, 1, true));
    assert_eq!(claimed.claimed_host_name.as_deref(), Some("rack-7"));
    assert!(retired_ak_names.is_empty());
    for check in [Check::EkPath, Check::AkActivated, Check::QuoteBinding, Check::QualifiedSigner, Check::PcrDigest] {
        let passed =
            node.records().iter().any(|record| record.check == check && record.outcome == CheckOutcome::Passed);
        assert!(passed, "{check}");
    }
}

/// CVE-2021-42299: what stands in a bank that firmware does not extend is user space's, and is no selector.
#[test]
fn cve_2021_42299_a_pcr_of_an_excepted_bank_is_no_selector() {
    let mut world = World::with_pool(|config| {
        config.selector_pcrs = vec![7];
        config.boot.unextended_banks = vec![HashAlgorithm::Sha256];
    });
    let node = world.admit(&mut world.tpm(), &mut Agent::default()).unwrap();
    assert!(!node.selectors().iter().any(|selector| selector.to_string().starts_with("tpm:pcr:")));
}

/// Threat 4: CVE-2024-29038, CVE-2024-29040. A credential activates for each of these keys.
#[test]
fn an_ak_that_could_sign_anything_or_leave_is_refused() {
    let clear = [
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::SIGN_ENCRYPT,
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
    ];
    let mut world = World::new();
    let mut tpm = world.tpm();
    let good = tpm.ak_attributes();
    for attribute in clear {
        tpm.set_ak_attributes(ObjectAttributes(good.0 & !attribute.0));
        assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::AkAttributes);
    }
    tpm.set_ak_attributes(good.with(ObjectAttributes::DECRYPT));
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::AkAttributes);
}

/// Threat 7: CVE-2021-3406. The credential is made for the AK of the payload, so only its own TPM opens it.
#[test]
fn an_ak_of_another_tpm_is_not_bound() {
    use plastron_attestation::TpmDevice;
    let mut world = World::new();
    let mut other = world.tpm();
    let foreign = other.create_attestation_key(EkTemplate::H3P384).unwrap();
    let mut tpm = world.tpm();
    let public = foreign.public.clone();
    let mut meddling = Meddling {
        payload: Box::new(move |bytes| {
            let mut payload = Payload::decode(&bytes).unwrap();
            payload.ak_public = public.clone();
            payload.encode()
        }),
        // The true TPM can't activate, so the agent can only guess.
        ..Meddling::default()
    };
    let mut verifier = world.verifier();
    let payload = (meddling.payload)(
        Payload {
            ek_public: tpm.ek_public(),
            ek_certificate: tpm.certificate().map(<[u8]>::to_vec),
            ek_intermediates: vec![],
            ak_public: vec![],
            claimed: plastron_attestation::Claims::default(),
            event_log: None,
            svid_key: None,
        }
        .encode(),
    );
    let challenge = world.challenge(&mut verifier, &payload).unwrap();
    let plastron_attestation::Task::Enrol(credential) =
        plastron_attestation::Challenge::decode(&challenge).unwrap().task
    else {
        panic!("an unknown AK enrols");
    };
    let own = tpm.create_attestation_key(EkTemplate::H3P384).unwrap();
    let activated =
        tpm.activate_credential(EkTemplate::H3P384, &own, &credential.id_object, &credential.encrypted_secret);
    assert!(activated.is_err(), "the EK's TPM does not hold that AK");
    let activated =
        other.activate_credential(EkTemplate::H3P384, &foreign, &credential.id_object, &credential.encrypted_secret);
    assert!(activated.is_err(), "the AK's TPM does not hold that EK");
    world.known.clear();
}

/// Threat 8: CVE-2023-38201.
#[test]
fn a_response_without_the_secret_or_with_a_stale_one_is_refused() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let without = |bytes: Vec<u8>| {
        let mut response = Response::decode(&bytes).unwrap();
        response.secret = None;
        response.encode()
    };
    let refused = world.refusal(&mut tpm, Meddling { response: Box::new(without), ..Meddling::default() });
    assert_refused(&refused, Check::AkActivated);
    assert_eq!(refused.node(), None);

    let stale = std::sync::Arc::new(std::sync::Mutex::new(None));
    let seen = std::sync::Arc::clone(&stale);
    let learn = move |bytes: Vec<u8>| {
        *seen.lock().unwrap() = Response::decode(&bytes).unwrap().secret;
        bytes
    };
    world
        .converse(
            &mut world.tpm(),
            &mut Agent::default(),
            &mut Meddling { response: Box::new(learn), ..Meddling::default() },
        )
        .unwrap();
    let replay = move |bytes: Vec<u8>| {
        let mut response = Response::decode(&bytes).unwrap();
        response.secret = stale.lock().unwrap().clone();
        response.encode()
    };
    let refused = world.refusal(&mut tpm, Meddling { response: Box::new(replay), ..Meddling::default() });
    assert_refused(&refused, Check::AkActivated);
}

#[test]
fn a_challenge_lives_sixty_seconds_and_serves_once() {
    use plastron_attestation::{VerifierAction, VerifierEvent};
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut meddling = Meddling { delay: 60, ..Meddling::default() };
    world.converse(&mut tpm, &mut Agent::default(), &mut meddling).unwrap();
    let mut tpm = world.tpm();
    let late = Meddling { delay: 61, ..Meddling::default() };
    assert_refused(&world.refusal(&mut tpm, late), Check::ChallengeFresh);

    let mut verifier = world.verifier();
    let payload = Payload {
        ek_public: tpm.ek_public(),
        ek_certificate: tpm.certificate().map(<[u8]>::to_vec),
        ek_intermediates: vec![],
        ak_public: world.known[0].enrolled.ak_public.clone(),
        claimed: plastron_attestation::Claims::default(),
        event_log: None,
        svid_key: None,
    };
    let action = verifier.step(VerifierEvent::Payload(&payload.encode()), crate::world::time(NOW)).unwrap();
    assert!(matches!(action, VerifierAction::LookUp { .. }));
    let garbage = verifier.step(VerifierEvent::Response(b"PLTP\x02"), crate::world::time(NOW)).unwrap_err();
    assert_refused(&garbage, Check::Sequence);
    let known = VerifierEvent::Known { by_ak: None, by_ek: None };
    assert_refused(&verifier.step(known, crate::world::time(NOW)).unwrap_err(), Check::Sequence);
}

/// Threat 9: CVE-2025-13609. The node's ID is its EK, so nothing that another TPM sends can take it over; and a banned one stays out
/// whichever AK it shows.
#[test]
fn another_tpm_is_another_node() {
    let mut world = World::new();
    let (mut tpm, _, first) = world.enrolled();
    let (_, _, second) = world.enrolled();
    assert_ne!(first.agent_path(), second.agent_path());
    world.known.remove(1);
    world.set_standing(Standing::Quarantined { reason: "a copy was seen".into() });
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::Standing);
}

#[test]
fn claims_are_kept_as_claims() {
    let mut world = World::new();
    let hostile = |bytes: Vec<u8>| {
        let mut payload = Payload::decode(&bytes).unwrap();
        payload.claimed.claimed_model = Some("tpm:manufacturer:\u{1b}[31mIFX".into());
        payload.encode()
    };
    let mut tpm = world.tpm();
    let mut agent = Agent::default();
    let refused = world
        .converse(&mut tpm, &mut agent, &mut Meddling { payload: Box::new(hostile), ..Meddling::default() })
        .unwrap_err();
    // The quote is bound to the payload that the agent sent, so a changed one is refused however harmless the change.
    assert_refused(&refused, Check::QuoteBinding);
}
