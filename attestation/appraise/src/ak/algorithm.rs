//! The algorithms of an AK: it is bound to one scheme, and nothing in it is weak.

use plastron_attestation_tcg::algorithm::{ALG_ECDSA, ALG_RSASSA};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm, PublicKey, TpmtPublic};

use crate::AppraiseError;
use crate::roca::is_roca;

/// How an AK signs. RSAPSS is not accepted: TPMs differ in the length of its salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AkScheme {
    /// RSASSA with this hash.
    RsaSsa(HashAlgorithm),
    /// ECDSA with SHA-256 on P-256.
    EcdsaP256,
    /// ECDSA with SHA-384 on P-384.
    EcdsaP384,
}

impl AkScheme {
    /// Hash of the signed bytes, and of pcrDigest.
    pub(crate) fn hash(self) -> HashAlgorithm {
        match self {
            Self::RsaSsa(hash) => hash,
            Self::EcdsaP256 => HashAlgorithm::Sha256,
            Self::EcdsaP384 => HashAlgorithm::Sha384,
        }
    }

    /// TPM_ALG_ID.
    pub(crate) fn id(self) -> u16 {
        match self {
            Self::RsaSsa(_) => ALG_RSASSA,
            Self::EcdsaP256 | Self::EcdsaP384 => ALG_ECDSA,
        }
    }
}

/// Checks, in order: nameAlg at least SHA-256; a scheme with a hash; RSASSA with RSA of 2048 to 4096 bits, e = 65537, no ROCA
/// modulus and SHA-256 to SHA-512, or ECDSA with the hash of its curve.
pub(crate) fn check(public: &TpmtPublic<'_>) -> Result<AkScheme, AppraiseError> {
    let refused = |what, got: String| AppraiseError::AkAlgorithm { what, got };
    if public.name_alg == HashAlgorithm::Sha1 {
        return Err(refused("nameAlg", public.name_alg.to_string()));
    }
    let scheme = public.scheme.ok_or_else(|| refused("scheme", "none: a restricted key has one".to_owned()))?;
    let hash = scheme
        .hash
        .and_then(HashAlgorithm::from_id)
        .filter(|hash| *hash != HashAlgorithm::Sha1)
        .ok_or_else(|| refused("signing hash", format!("{:#06x}", scheme.hash.unwrap_or_default())))?;
    match &public.key {
        PublicKey::Rsa { exponent, modulus, .. } => {
            if scheme.scheme != ALG_RSASSA {
                return Err(refused("RSA scheme", format!("{:#06x}", scheme.scheme)));
            }
            if *exponent != 65537 {
                return Err(refused("RSA exponent", exponent.to_string()));
            }
            let leads = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
            if !(256..=512).contains(&modulus.len()) || !leads {
                return Err(refused("RSA modulus", format!("{} bytes", modulus.len())));
            }
            if is_roca(modulus) {
                return Err(refused("RSA modulus", "of the ROCA family (CVE-2017-15361)".to_owned()));
            }
            Ok(AkScheme::RsaSsa(hash))
        }
        PublicKey::Ecc { curve, .. } => match (scheme.scheme, curve, hash) {
            (ALG_ECDSA, EccCurve::P256, HashAlgorithm::Sha256) => Ok(AkScheme::EcdsaP256),
            (ALG_ECDSA, EccCurve::P384, HashAlgorithm::Sha384) => Ok(AkScheme::EcdsaP384),
            (ALG_ECDSA, curve, hash) => Err(refused("curve and hash", format!("{curve:?} with {hash}"))),
            (other, ..) => Err(refused("ECC scheme", format!("{other:#06x}"))),
        },
    }
}
