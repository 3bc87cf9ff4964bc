//! A TPM that has an owner: authorisation values that are proven and not shown, refusals that are remembered, lockout.

use plastron_attestation::{EkTemplate, TpmDevice, TpmDeviceError};
use plastron_attestation_tcg::{ObjectAttributes, TpmtPublic};
use plastron_hsm_tpm::{AuthValue, Tpm, TpmConfig};
use plastron_swtpm_tests::Swtpm;
use zeroize::Zeroizing;

use crate::exchange::{CERTIFIED, Node, Server, attest, open};
use crate::tap::Tap;
use crate::tpm_device::assert_nothing_left;

fn value(text: &str) -> AuthValue {
    AuthValue::new(Zeroizing::new(text.as_bytes().to_vec()), "the file /etc/plastron/auth").unwrap()
}

fn is_wrong(error: &TpmDeviceError, refused: &str) -> bool {
    matches!(error, TpmDeviceError::WrongAuth { hierarchy, .. } if *hierarchy == refused)
}

#[test]
fn an_endorsement_auth_is_needed_and_a_wrong_one_is_sent_once() {
    let tpm = Swtpm::start().unwrap();
    tpm.set_auth("endorsement", "secret").unwrap();
    let with_auth = |text| TpmConfig { endorsement_auth: value(text), ..TpmConfig::new(tpm.tcti()) };
    let create = |device: &mut Tpm| device.create_attestation_key(EkTemplate::L1Rsa2048);
    assert!(is_wrong(&create(&mut open(&tpm)).unwrap_err(), "endorsement"));
    let wrong = with_auth("wrong");
    let mut device = Tpm::open(wrong.clone()).unwrap();
    let error = create(&mut device).unwrap_err();
    assert!(is_wrong(&error, "endorsement"), "{error}");
    assert!(error.to_string().contains("/etc/plastron/auth") && !error.to_string().contains("wrong"), "{error}");
    // Had it been sent again, it would be right by now.
    tpm.tpm2(&["changeauth", "-c", "endorsement", "-p", "secret", "wrong"]).unwrap();
    assert!(is_wrong(&create(&mut device).unwrap_err(), "endorsement"));
    // Nor is it by another connection of the same process.
    assert!(is_wrong(&create(&mut Tpm::open(wrong).unwrap()).unwrap_err(), "endorsement"));
    create(&mut Tpm::open(with_auth("wrong")).unwrap()).unwrap();
    assert_nothing_left(&tpm);
}

/// A certificate that only the owner may read.
fn with_certificate_for_the_owner(tpm: &Swtpm) {
    std::fs::write(tpm.directory().join("certificate"), [0x30, 0x00]).unwrap();
    tpm.tpm2(&["nvdefine", "0x01c0000a", "-s", "2", "-a", "ownerwrite|ownerread"]).unwrap();
    tpm.tpm2(&["nvwrite", "0x01c0000a", "-C", "o", "-i", "certificate"]).unwrap();
}

#[test]
fn an_owner_auth_is_needed_for_what_only_the_owner_may_read() {
    let tpm = Swtpm::start().unwrap();
    with_certificate_for_the_owner(&tpm);
    let read = |device: &mut Tpm| device.endorsement_key(EkTemplate::L2P256).map(|ek| ek.certificate);
    assert_eq!(read(&mut open(&tpm)).unwrap(), Some(vec![0x30, 0x00]));
    tpm.set_auth("owner", "secret").unwrap();
    assert!(is_wrong(&read(&mut open(&tpm)).unwrap_err(), "owner"));
    let mut owned = Tpm::open(TpmConfig { owner_auth: value("secret"), ..TpmConfig::new(tpm.tcti()) }).unwrap();
    assert_eq!(read(&mut owned).unwrap(), Some(vec![0x30, 0x00]));
    assert_nothing_left(&tpm);
}

/// Authorisation values are proven by sessions whose salt only the TPM can decrypt: whether the EK is persistent or has to be made, and
/// whether they are right or wrong.
///
/// Threat 44
#[test]
fn a_listener_on_the_bus_does_not_learn_an_authorisation_value() {
    let tpm = Swtpm::start().unwrap();
    with_certificate_for_the_owner(&tpm);
    let tap = Tap::on(&tpm);
    let (endorsement, owner, wrong) = ("endorsement-secret", "owner-secret", "a-wrong-secret");
    tpm.set_auth("endorsement", endorsement).unwrap();
    tpm.set_auth("owner", owner).unwrap();
    let through_the_tap = |endorsement_auth, owner_auth| {
        let config = TpmConfig { endorsement_auth, owner_auth, ..TpmConfig::new(tap.tcti()) };
        Tpm::open(config).unwrap()
    };
    for evicted in [None, Some("0x81010001"), Some("0x81010016")] {
        if let Some(handle) = evicted {
            tpm.tpm2(&["evictcontrol", "-C", "o", "-P", owner, "-c", handle]).unwrap();
        }
        for template in CERTIFIED {
            let mut server = Server::trusting(tpm.manufacturer(), template);
            let mut node = Node::new(&tpm, template);
            node.device = Box::new(through_the_tap(value(endorsement), value(owner)));
            attest(&mut server, &mut node).unwrap();
        }
        let mut device = through_the_tap(value(endorsement), value(owner));
        assert!(device.endorsement_key(EkTemplate::L2P256).unwrap().certificate.is_some());
        let error = through_the_tap(value(wrong), value(wrong)).create_attestation_key(EkTemplate::L1Rsa2048);
        assert!(is_wrong(&error.unwrap_err(), "endorsement"));
    }
    for secret in [endorsement, owner, wrong] {
        assert!(!tap.has_seen(secret.as_bytes()), "{secret}");
    }
    assert_nothing_left(&tpm);
}

/// No wrong value can lock what the agent makes.
#[test]
fn every_key_is_outside_the_dictionary_attack_logic() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    for template in EkTemplate::ALL {
        let ak = device.create_attestation_key(template).unwrap();
        let svid_key = plastron_attestation::TpmSvidKeys::create_svid_key(&mut device, template).unwrap();
        for public in [ak.public, svid_key.public] {
            assert!(TpmtPublic::parse(&public).unwrap().attributes.contains(ObjectAttributes::NO_DA), "{template:?}");
        }
    }
}

/// The use of an EK of the high range is protected by the dictionary-attack logic: the TPM refuses it in lockout, and gets no further
/// command.
#[test]
fn lockout_is_indeterminate_and_nothing_is_sent_again() {
    const CREATE: [u8; 4] = [0, 0, 0x01, 0x53];
    let tpm = Swtpm::start().unwrap();
    let tap = Tap::on(&tpm);
    let mut device = Tpm::open(TpmConfig::new(tap.tcti())).unwrap();
    tpm.tpm2(&["dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000"]).unwrap();
    tpm.tpm2(&["nvdefine", "0x01500001", "-s", "8", "-a", "authread|authwrite", "-p", "right"]).unwrap();
    tpm.tpm2(&["nvread", "0x01500001", "-P", "wrong"]).unwrap_err();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    tap.set_damage(Some(Box::new(move |command, reply| {
        count.fetch_add(usize::from(command[6..10] == CREATE), std::sync::atomic::Ordering::Relaxed);
        reply
    })));
    let error = device.create_attestation_key(EkTemplate::H3P384).unwrap_err();
    assert!(matches!(error, TpmDeviceError::Lockout), "{error}");
    assert!(error.to_string().starts_with("indeterminate: tpm lockout"), "{error}");
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 1);
    tap.set_damage(None);
    assert_nothing_left(&tpm);
}
