//! Signature checks that share no code with any store.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use der::asn1::{AnyRef, BitStringRef, Null};
use der::{Decode, Encode};
use plastron_hsm::{KeyRecord, KeyType, SignatureScheme};

/// Verifies a signature over `message` by the key of the record: the public key is a SubjectPublicKeyInfo of the key's type,
/// in the one DER encoding that it has, and the signature is the scheme's.
pub fn verify(key: &KeyRecord, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> Result<(), String> {
    let spki = spki::SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(&key.public_key)
        .map_err(|error| format!("the public key is not a SubjectPublicKeyInfo: {error}"))?;
    if spki.to_der().map_err(|error| error.to_string())? != key.public_key {
        return Err("the public key is not DER".to_owned());
    }
    let curve = match key.key_type {
        KeyType::EcP256 => Some(AnyRef::from(&SECP_256_R_1)),
        KeyType::EcP384 => Some(AnyRef::from(&SECP_384_R_1)),
        KeyType::Rsa2048 | KeyType::Rsa4096 => None,
    };
    let (algorithm, parameters) = match curve {
        Some(curve) => (ID_EC_PUBLIC_KEY, curve),
        None => (RSA_ENCRYPTION, AnyRef::from(Null)),
    };
    if spki.algorithm.oid != algorithm || spki.algorithm.parameters != Some(parameters) {
        return Err(format!("the public key is not of type {:?}", key.key_type));
    }
    let verifier: &'static dyn VerificationAlgorithm = match scheme {
        SignatureScheme::EcdsaSha256 => &ECDSA_P256_SHA256_ASN1,
        SignatureScheme::EcdsaSha384 => &ECDSA_P384_SHA384_ASN1,
        SignatureScheme::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
    };
    UnparsedPublicKey::new(verifier, spki.subject_public_key.raw_bytes())
        .verify(message, signature)
        .map_err(|_| format!("the {scheme:?} signature does not verify"))
}
