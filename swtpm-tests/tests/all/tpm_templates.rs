//! Endorsement keys of every template on a real TPM, from CreatePrimary to an admitted node.

use plastron_attestation::{EkTemplate, TpmDevice, TpmDeviceError};
use plastron_attestation_appraise::{
    EkTrust, MissingEventLog, Pool, PoolConfig, TrustAnchors, subject_public_key_info,
};
use plastron_attestation_fake_tpm::{EkCertificate, Manufacturer};
use plastron_attestation_tcg::{EkKeyType, TpmtPublic};
use plastron_swtpm_tests::Swtpm;

use crate::exchange::{CERTIFIED, Node, Server, attest, open, trusting};
use crate::tpm_device::assert_nothing_left;

fn write_nv(tpm: &Swtpm, index: u32, content: &[u8]) {
    let (index, size) = (format!("{index:#x}"), content.len().to_string());
    std::fs::write(tpm.directory().join("content"), content).unwrap();
    tpm.tpm2(&["nvdefine", &index, "-s", &size, "-a", "ownerwrite|ownerread|authread|no_da"]).unwrap();
    tpm.tpm2(&["nvwrite", &index, "-C", "o", "-i", "content"]).unwrap();
}

/// Has a manufacturer certify the EK that the TPM makes for a template, and puts the certificate where the template's belongs.
fn certify(tpm: &Swtpm, template: EkTemplate) -> Manufacturer {
    let manufacturer = Manufacturer::new("Plastron Testbed");
    let ek = open(tpm).endorsement_key(template).unwrap();
    assert_eq!(ek.certificate, None);
    let public = TpmtPublic::parse(&ek.public).unwrap();
    assert_eq!(template.difference(&public), None);
    let spki = subject_public_key_info(&public).unwrap();
    let is_rsa = matches!(template.key_type(), EkKeyType::Rsa(_));
    let certificate = manufacturer.certify(&spki, is_rsa, &EkCertificate::default());
    write_nv(tpm, template.certificate_nv_index(), &certificate);
    manufacturer
}

/// Enrols, and renews with the kept AK.
fn assert_enrols(tpm: &Swtpm, template: EkTemplate, config: PoolConfig) {
    let mut server = Server::new(vec![Pool::new(config).unwrap()]);
    let mut node = Node::new(tpm, template);
    let enrolled = attest(&mut server, &mut node).unwrap();
    assert!(node.ak.is_some());
    let renewed = attest(&mut server, &mut node).unwrap();
    assert_eq!(enrolled.ek_fingerprint(), renewed.ek_fingerprint());
    assert_nothing_left(tpm);
}

/// Certificates are found by their NV indices: a slow TPM makes no key for that.
#[test]
fn certified_templates_are_those_whose_certificate_is_in_nv() {
    let tpm = Swtpm::start().unwrap();
    assert_eq!(open(&tpm).certified_templates().unwrap(), CERTIFIED);
    certify(&tpm, EkTemplate::L2P256);
    let certified = open(&tpm).certified_templates().unwrap();
    assert!(certified.contains(&EkTemplate::L2P256) && certified.len() == CERTIFIED.len() + 1, "{certified:?}");
    assert_nothing_left(&tpm);
}

/// The templates for which swtpm_setup makes no certificate: the harness's manufacturer does. Their EKs are not persistent either.
#[test]
fn an_ek_that_is_made_each_time_enrols() {
    let tpm = Swtpm::start().unwrap();
    for template in [EkTemplate::L2P256, EkTemplate::H1Rsa2048, EkTemplate::H2P256] {
        let manufacturer = certify(&tpm, template);
        let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
        let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
        config.ek_template = template;
        config.boot.missing_event_log = MissingEventLog::Accept;
        assert_enrols(&tpm, template, config);
    }
}

#[test]
fn an_ek_as_its_manufacturer_ships_it_enrols() {
    let (tpm, big) = (Swtpm::start().unwrap(), Swtpm::start_with_rsa_3072().unwrap());
    for (tpm, template) in [
        (&tpm, EkTemplate::L1Rsa2048),
        (&tpm, EkTemplate::H3P384),
        (&big, EkTemplate::H6Rsa3072),
        (&big, EkTemplate::H3P384),
    ] {
        assert_enrols(tpm, template, trusting(tpm.manufacturer(), template));
    }
}

/// The nonce of an elliptic-curve key goes into x, beside a y of zeros (EK Credential Profile, 2.2.1.4).
#[test]
fn a_nonce_makes_another_elliptic_curve_key_too() {
    let tpm = Swtpm::start().unwrap();
    let ek = || open(&tpm).endorsement_key(EkTemplate::L2P256).unwrap().public;
    let (plain, template) = (ek(), EkTemplate::L2P256.create_primary_public(&[]));
    write_nv(&tpm, 0x01c0_000c, &template);
    assert_eq!(ek(), plain);
    write_nv(&tpm, 0x01c0_000b, &[0x5a; 20]);
    let with_nonce = ek();
    assert_ne!(with_nonce, plain);
    assert_eq!(EkTemplate::L2P256.difference(&TpmtPublic::parse(&with_nonce).unwrap()), None);
    // tpm2-tools, which share no code with us, make the same: they take x and y as sizes, low byte first, and buffers of 128 bytes.
    let unique = [&[32, 0][..], &[0x5a; 20], &[0; 108], &[32, 0], &[0; 128]].concat();
    let policy = EkTemplate::L2P256.auth_policy();
    for (name, content) in [("unique", unique.as_slice()), ("policy", policy)] {
        std::fs::write(tpm.directory().join(name), content).unwrap();
    }
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt";
    let key = ["createprimary", "-C", "e", "-G", "ecc256:null:aes128cfb", "-g", "sha256", "-c", "ek.ctx", "-Q"];
    tpm.tpm2(&[&key[..], &["-a", attributes, "-L", "policy", "-u", "unique"]].concat()).unwrap();
    tpm.tpm2(&["readpublic", "-c", "ek.ctx", "-o", "ek.pub", "-f", "tpmt", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    assert_eq!(std::fs::read(tpm.directory().join("ek.pub")).unwrap(), with_nonce);
}

/// A template in NV replaces the profile's, whatever it is: what comes of it is the verifier's to judge. One that does not parse and a
/// nonce that is too long are malformed, and nothing is cut to fit.
#[test]
fn what_nv_holds_is_taken_whole_or_refused() {
    let tpm = Swtpm::start().unwrap();
    // H-1's template at H-2's index.
    write_nv(&tpm, 0x01c0_0015, &EkTemplate::H1Rsa2048.create_primary_public(&[]));
    let public = open(&tpm).endorsement_key(EkTemplate::H2P256).unwrap().public;
    assert_eq!(public, open(&tpm).endorsement_key(EkTemplate::H1Rsa2048).unwrap().public);

    write_nv(&tpm, 0x01c0_0013, &[0xff; 100]);
    let error = open(&tpm).endorsement_key(EkTemplate::H1Rsa2048).unwrap_err();
    assert!(matches!(&error, TpmDeviceError::MalformedReply { reason, .. } if reason.contains("template")), "{error}");

    write_nv(&tpm, 0x01c0_000c, &EkTemplate::L2P256.create_primary_public(&[]));
    write_nv(&tpm, 0x01c0_000b, &[7; 33]);
    let error = open(&tpm).endorsement_key(EkTemplate::L2P256).unwrap_err();
    assert!(matches!(&error, TpmDeviceError::MalformedReply { reason, .. } if reason.contains("33 bytes")), "{error}");
    assert_nothing_left(&tpm);
}
