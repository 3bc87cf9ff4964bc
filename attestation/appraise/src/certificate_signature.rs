//! The signature of a certificate or a revocation list, by the key of its issuer. SHA-1 and RSA under 2048 bits are refused, RSA over 8192 too.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1,
    SECP_384_R_1, SECP_521_R_1, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

use crate::certificate::Certificate;

/// The key of `issuer` signed `tbs`, which is a certificate's or a revocation list's, or the reason why not.
pub(crate) fn verify(
    tbs: &[u8],
    algorithm: ObjectIdentifier,
    signature: &[u8],
    issuer: &Certificate<'_>,
) -> Result<(), &'static str> {
    let algorithm = verification_algorithm(algorithm, issuer)
        .ok_or("its signature algorithm is not accepted with its issuer's key")?;
    let key = issuer.spki().subject_public_key.as_bytes().ok_or("its issuer's key is not whole octets")?;
    UnparsedPublicKey::new(algorithm, key).verify(tbs, signature).map_err(|_| "its issuer's key did not sign it")
}

fn verification_algorithm(
    signature: ObjectIdentifier,
    issuer: &Certificate<'_>,
) -> Option<&'static dyn VerificationAlgorithm> {
    let key = &issuer.spki().algorithm;
    if key.oid == RSA_ENCRYPTION {
        return match signature {
            SHA_256_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA256),
            SHA_384_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA384),
            SHA_512_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        };
    }
    if key.oid != ID_EC_PUBLIC_KEY {
        return None;
    }
    let curve = key.parameters_oid().ok()?;
    match (curve, signature) {
        (SECP_256_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P256_SHA256_ASN1),
        (SECP_256_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P256_SHA384_ASN1),
        (SECP_256_R_1, ECDSA_WITH_SHA_512) => Some(&ECDSA_P256_SHA512_ASN1),
        (SECP_384_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P384_SHA256_ASN1),
        (SECP_384_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P384_SHA384_ASN1),
        (SECP_384_R_1, ECDSA_WITH_SHA_512) => Some(&ECDSA_P384_SHA512_ASN1),
        (SECP_521_R_1, ECDSA_WITH_SHA_256) => Some(&ECDSA_P521_SHA256_ASN1),
        (SECP_521_R_1, ECDSA_WITH_SHA_384) => Some(&ECDSA_P521_SHA384_ASN1),
        (SECP_521_R_1, ECDSA_WITH_SHA_512) => Some(&ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}
