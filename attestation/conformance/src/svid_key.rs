//! `TpmSvidKeys`, for devices that keep the SVID's key.

use plastron_attestation::{EkTemplate, SvidKeyBlob, TpmDeviceError, TpmSvidKeys};
use plastron_attestation_tcg::{
    Attested, EccCurve, HashAlgorithm, ObjectAttributes, PublicKey, QualifiedName, TPM_GENERATED_VALUE, TpmsAttest,
    TpmtPublic,
};

use crate::proof::{Proven, binding};
use crate::signature::verify;
use crate::{Fixture, Machine};

/// Attributes of an SVID key: of this TPM for good, no decryption, no restriction, no lockout.
const ATTRIBUTES: ObjectAttributes = ObjectAttributes::SIGN_ENCRYPT
    .with(ObjectAttributes::FIXED_TPM)
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA);

fn svid_keys(machine: &mut dyn Machine) -> &mut dyn TpmSvidKeys {
    machine.svid_keys().unwrap()
}

/// An SVID key is P-256 with the attributes that the seam states, new each time, and signs digests; a signature is over the digest that
/// was given.
pub(crate) fn signs(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let key = svid_keys(&mut *machine).create_svid_key(template).unwrap();
        let public = TpmtPublic::parse(&key.public).unwrap();
        assert_eq!((public.attributes, public.name_alg), (ATTRIBUTES, HashAlgorithm::Sha256), "{}", template.name());
        assert!(matches!(public.key, PublicKey::Ecc { curve: EccCurve::P256, .. }));
        let sign = |machine: &mut dyn Machine, message: &[u8]| {
            let digest = HashAlgorithm::Sha256.digest([message]).try_into().unwrap();
            svid_keys(machine).sign_with_svid_key(template, &key, &digest).unwrap()
        };
        let signature = sign(&mut *machine, b"a message");
        verify(&key.public, b"a message", &signature).unwrap();
        verify(&key.public, b"another message", &signature).unwrap_err();
        // Many, so that r and s of every length occur.
        for turn in 0u16..100 {
            let message = turn.to_be_bytes();
            verify(&key.public, &message, &sign(&mut *machine, &message)).unwrap();
        }
        assert_ne!(svid_keys(&mut *machine).create_svid_key(template).unwrap().public, key.public);
    }
}

/// The AK certifies the key under its Name, with the extraData that was given; too much extraData is an error.
pub(crate) fn is_certified_by_the_ak(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let proven = Proven::new(fixture, &mut *machine, template);
        let extra_data = binding().extra_data();
        let ek = machine.device().endorsement_key(template).unwrap().public;
        let device = svid_keys(&mut *machine);
        let key = device.create_svid_key(template).unwrap();
        let certified = device.certify_svid_key(template, &proven.blob, &key, &extra_data).unwrap();
        verify(&proven.blob.public, &certified.attest, &certified.signature).unwrap();
        let attest = TpmsAttest::parse(&certified.attest).unwrap();
        assert_eq!((attest.magic, attest.extra_data), (TPM_GENERATED_VALUE, extra_data.as_slice()));
        assert_eq!(attest.qualified_signer, qualified_name(&ek, &proven.blob.public).as_bytes());
        let Attested::Certify { name, qualified_name: qualified } = attest.attested else { panic!("{attest:?}") };
        assert_eq!(name, TpmtPublic::parse(&key.public).unwrap().name().as_bytes());
        assert_eq!(qualified, qualified_name(&ek, &key.public).as_bytes());
        let error = device.certify_svid_key(template, &proven.blob, &key, &[0; 65]).unwrap_err();
        assert!(matches!(error, TpmDeviceError::Command { .. }), "{error}");
    }
}

fn qualified_name(ek: &[u8], key: &[u8]) -> QualifiedName {
    let child = |parent: QualifiedName, public: &[u8]| {
        let public = TpmtPublic::parse(public).unwrap();
        parent.child(public.name_alg, &public.name())
    };
    child(child(QualifiedName::endorsement_hierarchy(), ek), key)
}

/// Another TPM's key, one under another EK and a damaged one are not loadable; a clear destroys the key, a reboot does not.
pub(crate) fn is_of_use_to_its_own_tpm_until_it_is_cleared(fixture: &dyn Fixture) {
    let (mut machine, mut other) = (fixture.make(), fixture.make());
    for &template in fixture.templates() {
        let key = svid_keys(&mut *machine).create_svid_key(template).unwrap();
        let mut strangers = vec![
            svid_keys(&mut *other).create_svid_key(template).unwrap(),
            SvidKeyBlob { private: Vec::new(), ..key.clone() },
            SvidKeyBlob { public: Vec::new(), ..key.clone() },
        ];
        for &parent in fixture.templates().iter().filter(|parent| **parent != template) {
            strangers.push(svid_keys(&mut *machine).create_svid_key(parent).unwrap());
        }
        for stranger in &strangers {
            assert_not_loadable(&mut *machine, template, stranger);
        }
        machine.reboot();
        svid_keys(&mut *machine).sign_with_svid_key(template, &key, &[1; 32]).unwrap();
        machine.clear();
        assert_not_loadable(&mut *machine, template, &key);
    }
}

fn assert_not_loadable(machine: &mut dyn Machine, template: EkTemplate, key: &SvidKeyBlob) {
    let error = svid_keys(machine).sign_with_svid_key(template, key, &[1; 32]).unwrap_err();
    assert!(matches!(error, TpmDeviceError::SvidKeyNotLoadable { .. }), "{}: {error}", template.name());
}
