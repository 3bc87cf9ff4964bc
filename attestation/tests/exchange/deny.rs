//! The operator's deny list: by certificate, model and firmware version. (By key: see `every_check`.)

use plastron_attestation::EkTemplate;
use plastron_attestation_appraise::{AppraiseError, Check, DeniedCertificate, DeniedModel, certificate_subject};
use plastron_attestation_fake_tpm::{EkCertificate, Manufacturer};

use crate::world::{Agent, Meddling, World, assert_refused, pool_config};

/// `PLST`, as the certificates of the manufacturer in these tests say.
const MANUFACTURER: u32 = 0x504c_5354;

fn denied_certificate(issuer: &[u8], serial: &[u8]) -> DeniedCertificate {
    let issuer = certificate_subject(issuer).unwrap();
    DeniedCertificate { issuer, serial: serial.to_vec(), reason: "advisory 7".into() }
}

#[test]
fn a_certificate_is_denied_by_its_issuer_and_serial_number() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let certified = |serial| EkCertificate { serial, ..EkCertificate::default() };
    world.policy.deny.certificates = vec![denied_certificate(&world.manufacturer.intermediate(), &[0x80, 0x07])];
    // DER puts a zero in front of this number, and the list does not.
    tpm.certify(&certified(0x8007));
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::DenyList);
    assert!(refused.error().describe().contains("serial number 8007"), "{refused}");
    for serial in [0x8008, 0x07, 0x80_0700] {
        tpm.certify(&certified(serial));
        world.admit(&mut tpm, &mut Agent::default()).unwrap();
        world.known.clear();
    }
    // Another issuer's certificate of that number is another certificate.
    let hare = Manufacturer::new("Hare");
    world.policy.deny.certificates = vec![denied_certificate(&hare.intermediate(), &[0x80, 0x07])];
    tpm.certify(&certified(0x8007));
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
}

/// Threat 15: a model or a firmware version with a known weakness.
#[test]
fn a_model_is_denied_before_a_credential_is_made_and_its_firmware_by_the_quote() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let denied = |model: &str, firmware_version| DeniedModel {
        manufacturer_id: MANUFACTURER,
        model: model.into(),
        firmware_version,
        reason: "TPM-Fail".into(),
    };
    world.policy.deny.models = vec![denied("fake", None)];
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::DenyList);
    assert!(refused.records().iter().all(|record| record.check != Check::AkActivated));

    // The version that the fake states is 1.2.3.4; it counts because the AK signed it.
    world.policy.deny.models = vec![denied("fake", Some(0x0001_0002_0003_0004))];
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert_refused(&refused, Check::DenyList);
    assert!(refused.records().iter().any(|record| record.check == Check::QuoteSignature));

    let other_manufacturer = DeniedModel { manufacturer_id: 0x4946_5800, ..denied("fake", None) };
    world.policy.deny.models =
        vec![denied("other", None), other_manufacturer, denied("fake", Some(0x0001_0002_0003_0005))];
    world.admit(&mut tpm, &mut Agent::default()).unwrap();
}

/// A pin does not make good what was denied, and a TPM that hides its certificate shows no model: the verdict says so.
#[test]
fn a_pin_does_not_lift_a_denial() {
    use plastron_attestation_appraise::{CheckOutcome, EkTrust, Pool, TrustAnchors};
    let mut world = World::new();
    let mut tpm = world.tpm();
    let anchors = TrustAnchors::new(vec![world.manufacturer.root()], vec![world.manufacturer.intermediate()]).unwrap();
    let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
    config.ek_trust = EkTrust::ChainOrPin(anchors, vec![crate::endorsement::pin_of(&tpm)]);
    world.policy.pools = vec![Pool::new(config).unwrap()];
    world.policy.deny.models = vec![DeniedModel {
        manufacturer_id: MANUFACTURER,
        model: "fake".into(),
        firmware_version: None,
        reason: "recalled".into(),
    }];
    let refused = world.refusal(&mut tpm, Meddling::default());
    assert!(matches!(
        refused.error(),
        plastron_attestation::ExchangeError::Evidence(AppraiseError::DeniedModel { .. })
    ));
    tpm.set_certificate(None);
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let record = node.records().iter().find(|record| record.check == Check::DenyList).unwrap();
    assert_eq!(record.outcome, CheckOutcome::NotChecked);
    assert!(record.detail.contains("model is not known"), "{}", record.detail);
}

/// What one pool's judgement finds denied, a later pool's pin does not make good either.
#[test]
fn a_later_pool_does_not_lift_a_denial() {
    use plastron_attestation_appraise::{EkTrust, Pool};
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut pinned = pool_config(&world.manufacturer, EkTemplate::H3P384);
    pinned.name = "pinned".into();
    pinned.ek_trust = EkTrust::Pin(vec![crate::endorsement::pin_of(&tpm)]);
    world.policy.pools.push(Pool::new(pinned).unwrap());
    world.policy.deny.models = vec![DeniedModel {
        manufacturer_id: MANUFACTURER,
        model: "fake".into(),
        firmware_version: None,
        reason: "recalled".into(),
    }];
    assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::DenyList);
}

/// Threat 15: a model is denied however a person spells it: certificates of one chip say `SLB 9670`, `SLB9670` and `slb9670 `.
#[test]
fn a_denied_model_is_recognised_without_case_and_spaces() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    for (spelled, is_denied) in
        [("FAKE", true), (" Fa ke ", true), ("fake2", false), ("fak", false), ("f\u{e4}ke", false)]
    {
        world.known.clear();
        for firmware_version in [None, Some(0x0001_0002_0003_0004)] {
            world.policy.deny.models = vec![DeniedModel {
                manufacturer_id: MANUFACTURER,
                model: spelled.into(),
                firmware_version,
                reason: "TPM-Fail".into(),
            }];
            if is_denied {
                assert_refused(&world.refusal(&mut tpm, Meddling::default()), Check::DenyList);
            } else {
                world.admit(&mut tpm, &mut Agent::default()).unwrap();
                world.known.clear();
            }
        }
    }
}

/// A TPM that hides its certificate hides the serial number too: the verdict says that it was not looked at.
#[test]
fn a_denied_certificate_that_nobody_saw_is_not_called_checked() {
    use plastron_attestation_appraise::{CheckOutcome, EkTrust, Pool};
    let mut world = World::new();
    let mut tpm = world.tpm();
    let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
    config.ek_trust = EkTrust::Pin(vec![crate::endorsement::pin_of(&tpm)]);
    world.policy.pools = vec![Pool::new(config).unwrap()];
    world.policy.deny.certificates = vec![denied_certificate(&world.manufacturer.intermediate(), &[0x80, 0x07])];
    tpm.set_certificate(None);
    let node = world.admit(&mut tpm, &mut Agent::default()).unwrap();
    let record = node.records().iter().find(|record| record.check == Check::DenyList).unwrap();
    assert_eq!(record.outcome, CheckOutcome::NotChecked);
    assert!(record.detail.contains("certificate"), "{}", record.detail);
}
