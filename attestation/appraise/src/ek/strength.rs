//! Weak endorsement keys: sizes, and the RSA keys of CVE-2017-15361 (ROCA).

use plastron_attestation_tcg::{EccCurve, PublicKey, sec1_point};

use crate::AppraiseError;
use crate::roca::is_roca;

/// Sizes of RSA moduli that are judged at all: more would cost time before anything is proven.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Checks, in order: RSA modulus of 2048 to 8192 bits, odd, not of the ROCA family; EC point on its curve. (The exponent is part of
/// the template.)
pub(crate) fn check(key: &PublicKey<'_>) -> Result<(), AppraiseError> {
    match key {
        PublicKey::Rsa { modulus, .. } => check_rsa(modulus),
        PublicKey::Ecc { curve, x, y } => check_point(*curve, x, y),
    }
}

fn check_rsa(modulus: &[u8]) -> Result<(), AppraiseError> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let leading = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() - zeros) * 8 - usize::try_from(leading).unwrap_or(0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if !RSA_BITS.contains(&bits) || !odd {
        return Err(AppraiseError::EkModulus { bits, parity: if odd { "odd" } else { "even" } });
    }
    if is_roca(modulus) {
        return Err(AppraiseError::Roca);
    }
    Ok(())
}

fn check_point(curve: EccCurve, x: &[u8], y: &[u8]) -> Result<(), AppraiseError> {
    let algorithm = match curve {
        EccCurve::P256 => &aws_lc_rs::agreement::ECDH_P256,
        EccCurve::P384 => &aws_lc_rs::agreement::ECDH_P384,
    };
    let point = sec1_point(curve, x, y).ok_or(AppraiseError::EkPoint)?;
    aws_lc_rs::agreement::ParsedPublicKey::try_from(aws_lc_rs::agreement::UnparsedPublicKey::new(algorithm, point))
        .map(drop)
        .map_err(|_| AppraiseError::EkPoint)
}
