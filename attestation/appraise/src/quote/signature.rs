//! The signature of a quote: over the raw bytes, with the AK's own scheme and hash, by aws-lc.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use plastron_attestation_tcg::{HashAlgorithm, PublicKey, TpmtPublic, TpmtSignature, left_pad, sec1_point};

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
    let verified = match (ak.scheme(), &public.key, signature) {
        (AkScheme::RsaSsa(hash), PublicKey::Rsa { modulus, .. }, TpmtSignature::RsaSsa { signature, .. }) => {
            let algorithm = match hash {
                HashAlgorithm::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                HashAlgorithm::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                HashAlgorithm::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                HashAlgorithm::Sha1 => return Err(failed("SHA-1")),
            };
            PublicKeyComponents { n: *modulus, e: EXPONENT.as_slice() }.verify(algorithm, signed, signature).is_ok()
        }
        (AkScheme::EcdsaP256, PublicKey::Ecc { .. }, TpmtSignature::Ecdsa { r, s, .. }) => {
            ecdsa(&ECDSA_P256_SHA256_FIXED, &public.key, signed, r, s).ok_or_else(|| failed("r or s out of range"))?
        }
        (AkScheme::EcdsaP384, PublicKey::Ecc { .. }, TpmtSignature::Ecdsa { r, s, .. }) => {
            ecdsa(&ECDSA_P384_SHA384_FIXED, &public.key, signed, r, s).ok_or_else(|| failed("r or s out of range"))?
        }
        _ => return Err(failed("it is not of the AK's type")),
    };
    if verified { Ok(()) } else { Err(failed("it does not verify")) }
}

/// TPMs drop leading zeros of r and s: they are put back.
fn ecdsa(
    algorithm: &'static EcdsaVerificationAlgorithm,
    key: &PublicKey<'_>,
    signed: &[u8],
    r: &[u8],
    s: &[u8],
) -> Option<bool> {
    let PublicKey::Ecc { curve, x, y } = key else { return None };
    let mut fixed = left_pad(r, curve.field_len())?;
    fixed.extend(left_pad(s, curve.field_len())?);
    let point = sec1_point(*curve, x, y)?;
    Some(UnparsedPublicKey::new(algorithm, point).verify(signed, &fixed).is_ok())
}
