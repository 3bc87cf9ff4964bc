//! Weak endorsement keys: sizes, and the RSA keys of CVE-2017-15361 (ROCA).

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey};
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
    let point = sec1_point(curve, x, y).ok_or(AppraiseError::EkPoint)?;
    // Both refuse what is not on the curve, coordinates beyond the field, and the identity.
    let on_curve = match curve {
        EccCurve::P256 => ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, point)).is_ok(),
        EccCurve::P384 => p384::PublicKey::from_sec1_bytes(&point).is_ok(),
    };
    if on_curve { Ok(()) } else { Err(AppraiseError::EkPoint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generators (SEC 2, 2.4.2 and 2.5.1).
    const GENERATORS: [(EccCurve, &str, &str); 2] = [
        (
            EccCurve::P256,
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ),
        (
            EccCurve::P384,
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        ),
    ];

    /// Only points of the curve are keys: others leak what is done with them, and the identity has no secret at all.
    #[test]
    fn points_that_are_not_on_their_curve_are_refused() {
        for (curve, x, y) in GENERATORS {
            let (x, y) = (hex::decode(x).unwrap(), hex::decode(y).unwrap());
            check_point(curve, &x, &y).unwrap();
            let (mut off, zero, beyond) = (y.clone(), vec![0; x.len()], vec![0xff; x.len()]);
            *off.last_mut().unwrap() ^= 1;
            let long = [&[1][..], &x].concat();
            for (x, y) in
                [(&x, &off), (&y, &x), (&zero, &zero), (&beyond, &y), (&x, &beyond), (&long, &y), (&vec![], &y)]
            {
                let refused = check_point(curve, x, y);
                assert!(matches!(refused, Err(AppraiseError::EkPoint)), "{curve:?} {x:02x?} {y:02x?}");
            }
        }
    }
}
