//! A key pair of each type, in aws-lc-rs.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};
use plastron_hsm::{KeyType, SignatureScheme};
use zeroize::Zeroizing;

/// A private key with its public key. aws-lc-rs keeps the private part and wipes it when it is dropped.
pub(crate) enum KeyPair {
    Ec(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl KeyPair {
    pub(crate) fn generate(key_type: KeyType) -> Result<Self, Unspecified> {
        match key_type {
            KeyType::EcP256 | KeyType::EcP384 => EcdsaKeyPair::generate(ecdsa(key_type)?).map(Self::Ec),
            KeyType::Rsa2048 => rsa::KeyPair::generate(KeySize::Rsa2048).map(Self::Rsa),
            KeyType::Rsa4096 => rsa::KeyPair::generate(KeySize::Rsa4096).map(Self::Rsa),
        }
    }

    /// Reads PKCS#8 (RFC 5208); the key must be of exactly that type.
    pub(crate) fn from_pkcs8(key_type: KeyType, pkcs8: &[u8]) -> Result<Self, String> {
        let bits = match key_type {
            KeyType::EcP256 | KeyType::EcP384 => {
                let algorithm = ecdsa(key_type).map_err(|error| error.to_string())?;
                return EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).map(Self::Ec).map_err(|error| error.to_string());
            }
            KeyType::Rsa2048 => 2048,
            KeyType::Rsa4096 => 4096,
        };
        let pair = rsa::KeyPair::from_pkcs8(pkcs8).map_err(|error| error.to_string())?;
        let got = pair.public_modulus_len() * 8;
        if got == bits { Ok(Self::Rsa(pair)) } else { Err(format!("an RSA key of {got} bits instead of {bits}")) }
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let document = match self {
            Self::Ec(pair) => pair.to_pkcs8v1().map_err(|error| error.to_string())?.as_ref().to_vec(),
            Self::Rsa(pair) => {
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(|error| error.to_string())?;
                der.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(document))
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, String> {
        let der: Result<PublicKeyX509Der<'_>, Unspecified> = match self {
            Self::Ec(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec()).map_err(|error| format!("can't encode the public key: {error}"))
    }

    /// Signs a digest whose scheme and length were checked against the key's type.
    pub(crate) fn sign(&self, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let algorithm = match scheme {
            SignatureScheme::EcdsaSha256 | SignatureScheme::RsaPkcs1Sha256 => &digest::SHA256,
            SignatureScheme::EcdsaSha384 => &digest::SHA384,
            SignatureScheme::RsaPkcs1Sha512 => &digest::SHA512,
        };
        let digest = Digest::import_less_safe(digest, algorithm)?;
        match self {
            Self::Ec(pair) => Ok(pair.sign_digest(&digest)?.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let padding = match scheme {
                    SignatureScheme::RsaPkcs1Sha512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(padding, &digest, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

fn ecdsa(key_type: KeyType) -> Result<&'static EcdsaSigningAlgorithm, Unspecified> {
    match key_type {
        KeyType::EcP256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyType::EcP384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyType::Rsa2048 | KeyType::Rsa4096 => Err(Unspecified),
    }
}
