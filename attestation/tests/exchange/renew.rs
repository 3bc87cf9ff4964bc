//! Renewal: one quote by the enrolled AK, judged again against the stored record.

use std::sync::Arc;

use plastron_attestation::{Challenge, Payload, Purpose, Standing};
use plastron_attestation_appraise::{Check, CheckOutcome, DeniedEk, DeniedModel, EnrolledTpm, Pool, TrustAnchors};
use plastron_attestation_fake_tpm::Manufacturer;

use crate::world::{Agent, Meddling, World, assert_refused, pool_config};

#[test]
fn a_renewal_is_one_quote_without_activation() {
    let mut world = World::new();
    let (mut tpm, mut agent, first) = world.enrolled();
    tpm.reboot();
    world.now += 1800;
    let look = |bytes: Vec<u8>| {
        assert_eq!(Challenge::decode(&bytes).unwrap().purpose(), Purpose::Renew);
        bytes
    };
    let mut meddling = Meddling { challenge: Box::new(look), ..Meddling::default() };
    let second = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert_eq!(second.agent_path(), first.agent_path());
    assert_eq!(second.judged_against(), Some(first.enrolled_tpm()));
    assert_eq!(second.enrolled_tpm().enrolled_at, first.enrolled_tpm().enrolled_at);
    assert_eq!(second.enrolled_tpm().attested_at, world.now);
    assert_eq!(second.enrolled_tpm().state.reset_count, 2);
    assert_eq!(world.known.len(), 1);
}

/// Threat 10: CVE-2022-1053. A renewal takes nothing of the EK from the payload.
#[test]
fn the_payload_says_nothing_about_the_ek_of_a_known_ak() {
    let mut world = World::new();
    let (mut tpm, agent, first) = world.enrolled();
    let other = World::new().tpm();
    let mut agent = Agent {
        ek: Some(plastron_attestation::EkMaterial {
            public: other.ek_public(),
            certificate: other.certificate().map(<[u8]>::to_vec),
            chain: vec![],
        }),
        ..agent
    };
    let node = world.admit(&mut tpm, &mut agent).unwrap();
    assert_eq!(node.ek_fingerprint(), first.ek_fingerprint());
    assert_eq!(node.enrolled_tpm().ek_certificate, first.enrolled_tpm().ek_certificate);
}

#[test]
fn trust_that_was_withdrawn_refuses_the_renewal() {
    type Withdrawal = (fn(&mut World), Check);
    let withdrawals: [Withdrawal; 6] = [
        (|world| world.policy.pools.clear(), Check::Pool),
        (
            |world| {
                let mut config = pool_config(&world.manufacturer, plastron_attestation::EkTemplate::H3P384);
                let other = Manufacturer::new("Hare");
                let anchors = TrustAnchors::new(vec![other.root()], vec![other.intermediate()]).unwrap();
                config.ek_trust = plastron_attestation_appraise::EkTrust::Chain(anchors);
                world.policy.pools = vec![Pool::new(config).unwrap()];
            },
            Check::EkPath,
        ),
        (|world| world.set_standing(Standing::Banned { reason: "sold".into() }), Check::Standing),
        (
            |world| {
                let fingerprint =
                    plastron_attestation_appraise::EkFingerprint::of_bytes(&world.known[0].enrolled.ek_public).unwrap();
                world.policy.deny.keys.push(DeniedEk { fingerprint, reason: "recalled".into() });
            },
            Check::DenyList,
        ),
        (
            |world| {
                world.policy.deny.models.push(DeniedModel {
                    manufacturer_id: 0x504c_5354,
                    model: "fake".into(),
                    firmware_version: Some(0x0001_0002_0003_0004),
                    reason: "leaks keys".into(),
                });
            },
            Check::DenyList,
        ),
        // 4000-06-01: the EK certificate ended with the year 3999.
        (|world| world.now = 64_073_894_400, Check::EkValidity),
    ];
    for (withdraw, check) in withdrawals {
        let mut world = World::new();
        let (mut tpm, mut agent, _) = world.enrolled();
        withdraw(&mut world);
        assert_refused(&world.admit(&mut tpm, &mut agent).unwrap_err(), check);
    }
}

/// TPM2_Clear destroys the AK and keeps the EK: the node comes back as itself, with a new AK.
#[test]
fn a_cleared_tpm_enrols_anew_as_the_same_node() {
    let mut world = World::new();
    let (mut tpm, agent, first) = world.enrolled();
    tpm.clear();
    let blob = agent.ak.unwrap();
    let quote = plastron_attestation::TpmDevice::quote(
        &mut tpm,
        plastron_attestation::EkTemplate::H3P384,
        &blob,
        &[0; 32],
        &plastron_attestation::PcrSelection(vec![(0x000b, 1)]),
    );
    assert!(matches!(quote, Err(plastron_attestation::TpmDeviceError::AkNotLoadable { .. })));
    let second = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    assert_eq!(second.agent_path(), first.agent_path());
    assert_eq!(second.judged_against(), Some(first.enrolled_tpm()));
    let EnrolledTpm { retired_ak_names, .. } = second.enrolled_tpm();
    assert_eq!(*retired_ak_names, [first.enrolled_tpm().ak_name().unwrap().as_bytes().to_vec()]);
    let replaced = second.records().iter().find(|record| record.check == Check::TpmStateRegressed).unwrap();
    assert_eq!(replaced.outcome, CheckOutcome::NotChecked);
}

#[test]
fn a_retired_ak_proves_a_copy_and_nothing_else() {
    let mut world = World::new();
    let (mut tpm, mut old_agent, node) = world.enrolled();
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let refused = world.admit(&mut tpm, &mut old_agent).unwrap_err();
    assert_refused(&refused, Check::TpmStateRegressed);
    assert_eq!(refused.node(), Some(node.ek_fingerprint()));
}

/// Anybody can know the public area of a retired AK; without its signature nothing is proven, so nobody is put in quarantine.
#[test]
fn the_mere_name_of_a_retired_ak_accuses_nobody() {
    let mut world = World::new();
    let (mut tpm, old_agent, _) = world.enrolled();
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let retired = old_agent.ak.unwrap().public;
    let name = move |bytes: Vec<u8>| {
        let mut payload = Payload::decode(&bytes).unwrap();
        payload.ak_public = retired.clone();
        payload.encode()
    };
    let mut stranger = World::new().tpm();
    let strip = |bytes: Vec<u8>| bytes;
    let meddling = Meddling { payload: Box::new(name), response: Box::new(strip), ..Meddling::default() };
    let refused = world.refusal(&mut stranger, meddling);
    assert_refused(&refused, Check::QuoteSignature);
    assert_eq!(refused.node(), None);
}

/// Threat 14: counters go forward.
#[test]
fn counters_only_go_forward() {
    type Forge = fn(&mut plastron_attestation_fake_tpm::AttestParts);
    let back: [Forge; 3] =
        [|attest| attest.reset_count -= 1, |attest| attest.restart_count -= 1, |attest| attest.clock -= 500];
    let forward: [Forge; 4] = [
        |_| {},
        |attest| {
            attest.reset_count += 1;
            attest.restart_count = 0;
            attest.clock = 0;
        },
        |attest| attest.restart_count += 1,
        // After a power cut the clock may repeat, and says so.
        |attest| {
            attest.safe = false;
            attest.clock -= 500;
        },
    ];
    let enrolled = || {
        let mut world = World::new();
        let (mut tpm, mut agent, _) = world.enrolled();
        tpm.resume();
        world.admit(&mut tpm, &mut agent).unwrap();
        (world, tpm, agent)
    };
    for forge in back {
        let (mut world, mut tpm, mut agent) = enrolled();
        tpm.before_signing(forge);
        let refused = world.admit(&mut tpm, &mut agent).unwrap_err();
        assert_refused(&refused, Check::TpmStateRegressed);
        assert!(refused.node().is_some());
    }
    for forge in forward {
        let (mut world, mut tpm, mut agent) = enrolled();
        tpm.before_signing(forge);
        world.admit(&mut tpm, &mut agent).unwrap();
    }
}

/// A clone with the same EK and AK: whichever copy falls behind gives itself away.
#[test]
fn a_copied_tpm_is_noticed() {
    let mut world = World::new();
    let (mut tpm, mut agent, _) = world.enrolled();
    let mut copy = tpm.copy();
    tpm.reboot();
    world.admit(&mut tpm, &mut agent).unwrap();
    let refused = world.admit(&mut copy, &mut agent).unwrap_err();
    assert_refused(&refused, Check::TpmStateRegressed);
}

#[test]
fn a_document_of_another_version_is_refused() {
    let mut world = World::new();
    let (_, _, node) = world.enrolled();
    let text = serde_json::to_string(node.enrolled_tpm()).unwrap();
    assert_eq!(&serde_json::from_str::<EnrolledTpm>(&text).unwrap(), node.enrolled_tpm());
    for other in [0, 3] {
        let other = text.replacen("\"version\":2", &format!("\"version\":{other}"), 1);
        assert!(serde_json::from_str::<EnrolledTpm>(&other).is_err());
    }
    // Version 1 had no event logs, and is version 2 from then on.
    let first = text
        .replacen("\"version\":2", "\"version\":1", 1)
        .replace("\"event_log_sha256\":null,", "")
        .replace("\"resident_svid_key\":null,", "");
    assert!(!first.contains("event_log") && !first.contains("resident"));
    assert_eq!(&serde_json::from_str::<EnrolledTpm>(&first).unwrap(), node.enrolled_tpm());
    let known = Arc::clone(&world.known[0].enrolled);
    assert_eq!(*known, *node.enrolled_tpm());
}
