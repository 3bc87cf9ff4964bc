//! A TPM behind tpm2-abrmd: every connection has slots of its own.

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice, TpmSvidKeys};
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_swtpm_tests::behind_resource_manager;

const TEMPLATES: [EkTemplate; 3] = [EkTemplate::L1Rsa2048, EkTemplate::L2P256, EkTemplate::H3P384];

fn quote(device: &mut Tpm, template: EkTemplate, ak: &AkBlob) {
    device.quote(template, ak, &[7; 32], &PcrSelection(vec![(0x000b, 0xff)])).unwrap();
}

#[test]
fn every_operation_works_behind_a_resource_manager() {
    behind_resource_manager(|tcti| {
        let mut device = Tpm::open(TpmConfig::new(tcti)).unwrap();
        assert_eq!(device.properties().unwrap().manufacturer, "IBM");
        for template in TEMPLATES {
            let ek = device.endorsement_key(template).unwrap();
            assert_eq!(ek.certificate.is_some(), template != EkTemplate::L2P256);
            let (ak, key) =
                (device.create_attestation_key(template).unwrap(), device.create_svid_key(template).unwrap());
            quote(&mut device, template, &ak);
            device.certify_svid_key(template, &ak, &key, &[7; 32]).unwrap();
            device.sign_with_svid_key(template, &key, &[7; 32]).unwrap();
        }
    })
    .unwrap();
}

/// Four programs that load keys at the same time have more of them than the TPM has slots.
#[test]
fn programs_behind_a_resource_manager_do_not_meet() {
    behind_resource_manager(|tcti| {
        std::thread::scope(|scope| {
            for template in [EkTemplate::L2P256, EkTemplate::H2P256, EkTemplate::H3P384, EkTemplate::H3P384] {
                scope.spawn(move || {
                    let mut device = Tpm::open(TpmConfig::new(tcti)).unwrap();
                    let ak = device.create_attestation_key(template).unwrap();
                    (0..10).for_each(|_| quote(&mut device, template, &ak));
                });
            }
        });
    })
    .unwrap();
}
