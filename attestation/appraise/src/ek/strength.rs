//! Weak endorsement keys: sizes, and the RSA keys of CVE-2017-15361 (ROCA).

use plastron_attestation_tcg::{EccCurve, PublicKey, sec1_point};

use crate::AppraiseError;

/// The primes whose residues give a ROCA modulus away (Nemec et al., 2017): its residue is a power of 65537 modulo each.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

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

/// Whether the residue of a modulus is a power of 65537 modulo every prime. A modulus of another origin is so by chance once in
/// 2^27.
pub(crate) fn is_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let generator = 65537 % prime;
        let mut power = 1;
        loop {
            if power == residue {
                return true;
            }
            power = power * generator % prime;
            if power <= 1 {
                return false;
            }
        }
    })
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
