//! `create_attestation_key`, and which AKs are loadable.

use plastron_attestation::{AkBlob, TpmDevice, TpmDeviceError};
use plastron_attestation_appraise::{AcceptableAk, Checklist};
use plastron_attestation_tcg::{HashAlgorithm, ObjectAttributes, TpmtPublic};

use crate::Fixture;
use crate::proof::{Proven, bank};

/// An AK is acceptable, never counts towards a lockout, is new each time, and descends from its EK: a quote by it verifies.
pub(crate) fn is_a_good_child_of_its_ek(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let proven = Proven::new(fixture, &mut *machine, template);
        AcceptableAk::check(&proven.blob.public, &mut Checklist::new()).unwrap();
        let attributes = TpmtPublic::parse(&proven.blob.public).unwrap().attributes;
        assert!(attributes.contains(ObjectAttributes::NO_DA), "{}: {attributes}", template.name());
        proven.quote(machine.device(), &[bank(HashAlgorithm::Sha256, 0xff)]);
        let another = machine.device().create_attestation_key(template).unwrap();
        assert_ne!(another.public, proven.blob.public);
        // The one that was made first is still of use.
        proven.quote(machine.device(), &[bank(HashAlgorithm::Sha256, 0xff)]);
    }
}

/// Another TPM's AK, an AK under another EK of the same TPM, and a damaged blob are not loadable, and the device is well afterwards.
pub(crate) fn is_of_use_to_its_own_tpm_and_ek_only(fixture: &dyn Fixture) {
    let (mut machine, mut other) = (fixture.make(), fixture.make());
    for &template in fixture.templates() {
        let good = Proven::new(fixture, &mut *machine, template);
        let mut strangers = vec![other.device().create_attestation_key(template).unwrap()];
        for &parent in fixture.templates().iter().filter(|parent| **parent != template) {
            strangers.push(machine.device().create_attestation_key(parent).unwrap());
        }
        strangers.extend(damaged(&good.blob));
        for blob in strangers {
            let proven = Proven { blob, template, ak: Proven::new(fixture, &mut *machine, template).ak };
            assert_not_loadable(&proven, machine.device());
        }
        good.quote(machine.device(), &[bank(HashAlgorithm::Sha256, 1)]);
    }
}

/// Blobs that somebody tore or changed.
fn damaged(good: &AkBlob) -> Vec<AkBlob> {
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        bytes
    };
    vec![
        AkBlob { private: flipped(&good.private, 1), ..good.clone() },
        AkBlob { private: flipped(&good.private, 20), ..good.clone() },
        AkBlob { private: Vec::new(), ..good.clone() },
        AkBlob { private: vec![0xff; 70_000], ..good.clone() },
        AkBlob { public: flipped(&good.public, 40), ..good.clone() },
        AkBlob { public: good.public.iter().copied().take(20).collect(), ..good.clone() },
        AkBlob { public: Vec::new(), ..good.clone() },
    ]
}

pub(crate) fn assert_not_loadable(proven: &Proven, device: &mut dyn TpmDevice) {
    let error = proven.try_quote(device, &[bank(HashAlgorithm::Sha256, 1)]).unwrap_err();
    assert!(matches!(error, TpmDeviceError::AkNotLoadable { .. }), "{}: {error}", proven.template.name());
}
