//! Signature checks that share no code with any device.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey,
};
use plastron_attestation_tcg::{EccCurve, PublicKey, TpmtPublic, TpmtSignature, left_pad, sec1_point};

/// Verifies a TPMT_SIGNATURE over `message` by the key of a TPMT_PUBLIC.
pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), String> {
    let key = TpmtPublic::parse(public).map_err(|error| error.to_string())?.key;
    let wrong = |_| "the signature does not verify".to_owned();
    match (key, TpmtSignature::parse(signature).map_err(|error| error.to_string())?) {
        (PublicKey::Ecc { curve, x, y }, TpmtSignature::Ecdsa { r, s, .. }) => {
            let algorithm: &EcdsaVerificationAlgorithm = match curve {
                EccCurve::P256 => &ECDSA_P256_SHA256_FIXED,
                EccCurve::P384 => &ECDSA_P384_SHA384_FIXED,
            };
            let padded = |number| left_pad(number, curve.field_len()).ok_or("r or s is too long");
            let fixed = [padded(r)?, padded(s)?].concat();
            let point = sec1_point(curve, x, y).ok_or("the key is no point")?;
            UnparsedPublicKey::new(algorithm, point).verify(message, &fixed).map_err(wrong)
        }
        (PublicKey::Rsa { modulus, .. }, TpmtSignature::RsaSsa { signature, .. }) => {
            let key = PublicKeyComponents { n: modulus, e: [1, 0, 1].as_slice() };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).map_err(wrong)
        }
        (_, other) => Err(format!("a signature of another scheme: {other:?}")),
    }
}
