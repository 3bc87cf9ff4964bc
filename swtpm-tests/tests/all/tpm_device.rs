//! The TPM back end on a real TPM: what it reads, and how it fails. What every back end does is in `conformance`.

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice, TpmDeviceError};
use plastron_attestation_tcg::TpmtPublic;
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_swtpm_tests::{EkKind, Swtpm};

use crate::exchange::open;

const SHA1: u16 = 0x0004;
const SHA256: u16 = 0x000b;
const SHA384: u16 = 0x000c;
const SHA512: u16 = 0x000d;

/// Nothing is loaded in the TPM: no object, no session.
pub(crate) fn assert_nothing_left(tpm: &Swtpm) {
    for kind in ["handles-transient", "handles-loaded-session"] {
        let left = tpm.tpm2(&["getcap", kind]).unwrap().stdout;
        assert!(left.trim_ascii().is_empty(), "{kind}: {}", String::from_utf8_lossy(&left));
    }
}

fn quote(device: &mut Tpm, template: EkTemplate, ak: &AkBlob) -> Result<Vec<Vec<u8>>, TpmDeviceError> {
    let selection = PcrSelection(vec![(SHA1, 0xff), (SHA256, 0xff), (SHA384, 0xff), (SHA512, 0xff)]);
    device.quote(template, ak, &[7; 32], &selection).map(|quote| quote.pcr_values)
}

#[test]
fn each_ek_is_its_template_and_has_its_certificate() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    for (template, kind) in [(EkTemplate::L1Rsa2048, EkKind::Rsa2048), (EkTemplate::H3P384, EkKind::P384)] {
        let material = device.endorsement_key(template).unwrap();
        assert_eq!(template.difference(&TpmtPublic::parse(&material.public).unwrap()), None);
        assert_eq!(material.certificate.unwrap(), tpm.ek_certificate(kind).unwrap());
        assert!(material.chain.is_empty());
    }
    assert_nothing_left(&tpm);
}

/// A TPM whose EK is not persistent, or where something else took its place, has the same EK.
#[test]
fn an_ek_that_is_not_persistent_is_made_again() {
    let tpm = Swtpm::start().unwrap();
    let ek = |tpm: &Swtpm, template| open(tpm).endorsement_key(template).unwrap().public;
    let before = EkTemplate::ALL.map(|template| ek(&tpm, template));
    tpm.tpm2(&["evictcontrol", "-c", "0x81010001"]).unwrap();
    tpm.tpm2(&["evictcontrol", "-c", "0x81010016"]).unwrap();
    assert_eq!(EkTemplate::ALL.map(|template| ek(&tpm, template)), before);
    tpm.tpm2(&["createprimary", "-C", "o", "-c", "other.ctx", "-Q"]).unwrap();
    tpm.tpm2(&["evictcontrol", "-c", "other.ctx", "0x81010001", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    assert_eq!(EkTemplate::ALL.map(|template| ek(&tpm, template)), before);
    assert_nothing_left(&tpm);
}

/// EK Credential Profile, 2.2.1.4: the template in NV is used, and the nonce beside it goes into its unique field and makes another
/// key. tpm2-tools, which share no code with us, make the same.
#[test]
fn an_ek_template_and_nonce_in_nv_are_honoured() {
    let tpm = Swtpm::start().unwrap();
    let ek = || open(&tpm).endorsement_key(EkTemplate::L1Rsa2048).unwrap().public;
    let before = ek();
    let mut template = before.clone();
    template.truncate(before.len() - 256);
    template.extend([0; 256]);
    tpm.tpm2(&["evictcontrol", "-c", "0x81010001"]).unwrap();
    for (index, name, content) in [("0x01c00003", "nonce", vec![0x5a; 32]), ("0x01c00004", "template", template)] {
        let size = content.len().to_string();
        std::fs::write(tpm.directory().join(name), content).unwrap();
        tpm.tpm2(&["nvdefine", index, "-s", &size, "-a", "ownerwrite|ownerread|authread|no_da"]).unwrap();
        // Defined and not yet written is as good as not there, and so is a nonce without a template.
        assert_eq!(ek(), before);
        tpm.tpm2(&["nvwrite", index, "-C", "o", "-i", name]).unwrap();
    }
    let public = ek();
    assert_ne!(public, before);
    assert_eq!(EkTemplate::L1Rsa2048.difference(&TpmtPublic::parse(&public).unwrap()), None);
    // The policy is PolicySecret(endorsement), and the file of unique data begins with its size, low byte first.
    let unique = [&[0, 1][..], &[0x5a; 32], &[0; 224]].concat();
    let policy = TpmtPublic::parse(&public).unwrap().auth_policy.to_vec();
    for (name, content) in [("unique", unique), ("policy", policy)] {
        std::fs::write(tpm.directory().join(name), content).unwrap();
    }
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt";
    let key = ["createprimary", "-C", "e", "-G", "rsa2048:null:aes128cfb", "-g", "sha256", "-c", "ek.ctx", "-Q"];
    tpm.tpm2(&[&key[..], &["-a", attributes, "-L", "policy", "-u", "unique"]].concat()).unwrap();
    tpm.tpm2(&["readpublic", "-c", "ek.ctx", "-o", "ek.pub", "-f", "tpmt", "-Q"]).unwrap();
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    assert_eq!(std::fs::read(tpm.directory().join("ek.pub")).unwrap(), public);
}

#[test]
fn a_tpm_that_goes_away_and_comes_back_is_used_again() {
    let mut tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    let ak = device.create_attestation_key(EkTemplate::L1Rsa2048).unwrap();
    tpm.stop().unwrap();
    let error = quote(&mut device, EkTemplate::L1Rsa2048, &ak).unwrap_err();
    assert!(matches!(error, TpmDeviceError::Command { .. } | TpmDeviceError::Open { .. }), "{error}");
    let error = Tpm::open(TpmConfig::new(tpm.tcti())).map(|_| ()).unwrap_err();
    assert!(matches!(&error, TpmDeviceError::Open { tcti, .. } if *tcti == tpm.tcti()), "{error}");
    tpm.restart().unwrap();
    quote(&mut device, EkTemplate::L1Rsa2048, &ak).unwrap();
    assert_nothing_left(&tpm);
}

#[test]
fn a_device_that_is_none_is_named() {
    for device in ["/dev/no-such-tpm", "device:/dev/no-such-tpm", "swtpm:path=/run/tpm.sock", "nonsense", ""] {
        let error = Tpm::open(TpmConfig::new(device)).map(|_| ()).unwrap_err();
        assert!(matches!(&error, TpmDeviceError::Open { tcti, .. } if tcti.contains(device)), "{error}");
    }
}

#[test]
fn properties_are_what_tpm2_tools_read() {
    let tpm = Swtpm::start().unwrap();
    let properties = open(&tpm).properties().unwrap();
    assert_eq!(properties.manufacturer, "IBM");
    assert_eq!(properties.vendor, "SW   TPM");
    assert_eq!(properties.banks, [(SHA1, 0xff_ffff), (SHA256, 0xff_ffff), (SHA384, 0xff_ffff)]);
    assert!(properties.specification.starts_with("2.0 revision 1."), "{}", properties.specification);
    let fixed = String::from_utf8(tpm.tpm2(&["getcap", "properties-fixed"]).unwrap().stdout).unwrap();
    let raw = fixed.split("TPM2_PT_FIRMWARE_VERSION_1:").nth(1).unwrap();
    let raw = raw.split("0x").nth(1).unwrap().split_whitespace().next().unwrap();
    let first = u32::from_str_radix(raw, 16).unwrap();
    let expected = format!("{}.{}.", first >> 16, first & 0xffff);
    assert!(properties.firmware.starts_with(&expected), "{} {expected}", properties.firmware);
    assert_eq!(properties.lockout_counter, 0);
    assert!(properties.max_auth_fail > 0);
}
