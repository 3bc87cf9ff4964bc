//! The SVID's key in a real TPM: made, certified by the AK, used, and gone with a clear.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use plastron_attestation::{EkTemplate, SvidKeyBlob, TpmDevice, TpmDeviceError, TpmSvidKeys};
use plastron_attestation_tcg::{
    Attested, EccCurve, HashAlgorithm, Name, ObjectAttributes, PublicKey, QualifiedName, ST_ATTEST_CERTIFY,
    TPM_GENERATED_VALUE, TpmsAttest, TpmtPublic, TpmtSignature, left_pad, sec1_point,
};
use plastron_swtpm_tests::Swtpm;

use crate::exchange::open;
use crate::tpm_device::assert_nothing_left;

/// Fails unless the signature over `message` is the key's. Both are the TPM's own encodings.
fn assert_signed(public: &[u8], message: &[u8], signature: &[u8]) {
    let PublicKey::Ecc { curve: EccCurve::P256, x, y } = TpmtPublic::parse(public).unwrap().key else {
        panic!("not on P-256");
    };
    let TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r, s } = TpmtSignature::parse(signature).unwrap() else {
        panic!("not ECDSA with SHA-256");
    };
    let fixed = [left_pad(r, 32).unwrap(), left_pad(s, 32).unwrap()].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1_point(EccCurve::P256, x, y).unwrap());
    key.verify(message, &fixed).unwrap();
    assert!(key.verify(b"another message", &fixed).is_err());
}

#[test]
fn an_svid_key_is_certified_by_the_ak_and_signs() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    for template in EkTemplate::ALL {
        let ek = device.endorsement_key(template).unwrap();
        let ak = device.create_attestation_key(template).unwrap();
        let key = device.create_svid_key(template).unwrap();
        let public = TpmtPublic::parse(&key.public).unwrap();
        let expected = ObjectAttributes::SIGN_ENCRYPT
            .with(ObjectAttributes::FIXED_TPM)
            .with(ObjectAttributes::FIXED_PARENT)
            .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
            .with(ObjectAttributes::USER_WITH_AUTH)
            .with(ObjectAttributes::NO_DA);
        assert_eq!((public.attributes, public.auth_policy), (expected, &[][..]));
        tpm.reboot().unwrap();

        let certified = device.certify_svid_key(template, &ak, &key, &[7; 32]).unwrap();
        assert_signed(&ak.public, &certified.attest, &certified.signature);
        let attest = TpmsAttest::parse(&certified.attest).unwrap();
        assert_eq!((attest.magic, attest.attest_type), (TPM_GENERATED_VALUE, ST_ATTEST_CERTIFY));
        assert_eq!(attest.extra_data, [7; 32]);
        let ek = TpmtPublic::parse(&ek.public).unwrap();
        let under_ek = QualifiedName::endorsement_hierarchy().child(ek.name_alg, &ek.name());
        let qualified = |public: &[u8]| under_ek.child(HashAlgorithm::Sha256, &Name::of(HashAlgorithm::Sha256, public));
        assert_eq!(attest.qualified_signer, qualified(&ak.public).as_bytes());
        let Attested::Certify { name, qualified_name } = attest.attested else { panic!("no certification") };
        assert_eq!(name, public.name().as_bytes());
        assert_eq!(qualified_name, qualified(&key.public).as_bytes());

        let message = b"what TLS has to have signed";
        let digest: [u8; 32] = HashAlgorithm::Sha256.digest([&message[..]]).try_into().unwrap();
        assert_signed(&key.public, message, &device.sign_with_svid_key(template, &key, &digest).unwrap());
        assert!(device.certify_svid_key(template, &ak, &key, &[0; 65]).is_err());
    }
    assert_nothing_left(&tpm);
}

#[test]
fn an_svid_key_that_is_not_of_this_tpm_is_not_loadable() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    let mut device = open(&tpm);
    for template in EkTemplate::ALL {
        let good = device.create_svid_key(template).unwrap();
        let mut flipped = good.clone();
        flipped.private[40] ^= 1;
        let foreign = open(&other).create_svid_key(template).unwrap();
        let ak = device.create_attestation_key(template).unwrap();
        for key in [flipped, foreign, SvidKeyBlob { public: Vec::new(), ..good.clone() }] {
            let error = device.sign_with_svid_key(template, &key, &[7; 32]).unwrap_err();
            assert!(matches!(error, TpmDeviceError::SvidKeyNotLoadable { .. }), "{error}");
            let error = device.certify_svid_key(template, &ak, &key, b"").unwrap_err();
            assert!(matches!(error, TpmDeviceError::SvidKeyNotLoadable { .. }), "{error}");
        }
        device.sign_with_svid_key(template, &good, &[7; 32]).unwrap();
        tpm.clear().unwrap();
        let error = device.sign_with_svid_key(template, &good, &[7; 32]).unwrap_err();
        assert!(matches!(error, TpmDeviceError::SvidKeyNotLoadable { .. }), "{error}");
    }
    assert_nothing_left(&tpm);
}
