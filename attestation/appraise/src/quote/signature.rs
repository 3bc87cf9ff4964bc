//! The signature of a quote: over the raw bytes, with the AK's own scheme and hash, by aws-lc.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm, PublicKey, TpmtPublic, TpmtSignature, left_pad, sec1_point};

use crate::ak::AkScheme;
use crate::{AppraiseError, BoundAk};

/// 65537, without leading zeros; another exponent is no AK.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Checks, in order: scheme and hash are the AK's; the signature is over these bytes.
pub(crate) fn check(ak: &BoundAk, signed: &[u8], signature: &[u8]) -> Result<(), AppraiseError> {
    let failed = |reason| AppraiseError::QuoteSignature { reason };
    let signature = TpmtSignature::parse(signature)?;
    if signature.scheme() != ak.scheme().id() || signature.hash() != ak.scheme().hash() {
        return Err(failed("scheme or hash are not the AK's"));
    }
    let public = TpmtPublic::parse(ak.public())?;
    match (ak.scheme(), &public.key, signature) {
        (AkScheme::RsaSsa(hash), PublicKey::Rsa { modulus, .. }, TpmtSignature::RsaSsa { signature, .. }) => {
            let algorithm = match hash {
                HashAlgorithm::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                HashAlgorithm::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                HashAlgorithm::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                HashAlgorithm::Sha1 => return Err(failed("SHA-1")),
            };
            let key = PublicKeyComponents { n: *modulus, e: EXPONENT.as_slice() };
            key.verify(algorithm, signed, signature).map_err(|_| failed("it does not verify"))
        }
        (AkScheme::EcdsaP256, PublicKey::Ecc { curve, x, y }, TpmtSignature::Ecdsa { r, s, .. }) => {
            check_ecdsa(&ECDSA_P256_SHA256_FIXED, *curve, [x, y], [r, s], signed).map_err(failed)
        }
        (AkScheme::EcdsaP384, PublicKey::Ecc { curve, x, y }, TpmtSignature::Ecdsa { r, s, .. }) => {
            check_ecdsa(&ECDSA_P384_SHA384_FIXED, *curve, [x, y], [r, s], signed).map_err(failed)
        }
        _ => Err(failed("it is not of the AK's type")),
    }
}

/// TPMs drop leading zeros of r and s: they are put back.
fn check_ecdsa(
    algorithm: &'static EcdsaVerificationAlgorithm,
    curve: EccCurve,
    [x, y]: [&[u8]; 2],
    [r, s]: [&[u8]; 2],
    signed: &[u8],
) -> Result<(), &'static str> {
    let len = curve.field_len();
    let (r, s) = left_pad(r, len).zip(left_pad(s, len)).ok_or("r or s is empty or too long")?;
    let point = sec1_point(curve, x, y).ok_or("the AK is no point")?;
    let signature = [r, s].concat();
    UnparsedPublicKey::new(algorithm, point).verify(signed, &signature).map_err(|_| "it does not verify")
}
