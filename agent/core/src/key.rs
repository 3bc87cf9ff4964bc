//! Private keys of SVIDs: made here, and leaving this process only as PKCS#8 for the workload or the agent's own file.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use zeroize::Zeroizing;

/// A private key as PKCS#8, wiped when dropped. No `Clone`: whoever shares it shares an `Arc`.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Wraps a PKCS#8 PrivateKeyInfo, DER.
    pub fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self { pkcs8 }
    }

    /// The PKCS#8 PrivateKeyInfo, DER. Copy it only into what is sent or written.
    pub fn reveal_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pkcs8: _ } = self;
        f.write_str("PrivateKey")
    }
}

/// The key types that workload SVIDs can have (`workload_x509_svid_key_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SvidKeyType {
    /// `ec-p256`, the default.
    #[default]
    EcP256,
    /// `ec-p384`.
    EcP384,
    /// `rsa-2048`.
    Rsa2048,
}

impl SvidKeyType {
    /// By the name in SPIRE's configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ec-p256" => Some(Self::EcP256),
            "ec-p384" => Some(Self::EcP384),
            "rsa-2048" => Some(Self::Rsa2048),
            _ => None,
        }
    }
}

/// A key pair that can sign a CSR: one's own key, before it has an SVID.
pub(crate) struct KeyPair {
    signer: Signer,
    private_key: Arc<PrivateKey>,
    public_key: Vec<u8>,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    /// A fresh pair. RSA takes tens of milliseconds or more: not on an async worker.
    pub(crate) fn generate(key_type: SvidKeyType) -> Result<Self, KeyError> {
        match key_type {
            SvidKeyType::EcP256 => Self::generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            SvidKeyType::EcP384 => Self::generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            SvidKeyType::Rsa2048 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Encode)?;
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Encode)?;
                let private_key = PrivateKey::from_pkcs8(Zeroizing::new(pkcs8.as_ref().to_vec()));
                let public_key = public.as_ref().to_vec();
                Ok(Self { signer: Signer::Rsa(pair), private_key: Arc::new(private_key), public_key })
            }
        }
    }

    fn generate_ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(algorithm).map_err(|_| KeyError::Generate)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Encode)?;
        Self::from_ecdsa(pair, Zeroizing::new(pkcs8.as_ref().to_vec()))
    }

    /// Reads a P-256 key back: the agent's own key always is one.
    pub(crate) fn p256_from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).map_err(|_| KeyError::NotP256)?;
        Self::from_ecdsa(pair, pkcs8)
    }

    fn from_ecdsa(pair: EcdsaKeyPair, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Encode)?;
        let public_key = public.as_ref().to_vec();
        Ok(Self { signer: Signer::Ecdsa(pair), private_key: Arc::new(PrivateKey::from_pkcs8(pkcs8)), public_key })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub(crate) fn private_key(&self) -> &Arc<PrivateKey> {
        &self.private_key
    }

    /// Signs with the algorithm that [`Self::signature_algorithm`] names.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(|_| KeyError::Sign)?.as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }

    pub(crate) fn signature_algorithm(&self) -> SignatureAlgorithm {
        match &self.signer {
            Signer::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
            Signer::Ecdsa(pair) if *pair.algorithm() == ECDSA_P384_SHA384_ASN1_SIGNING => {
                SignatureAlgorithm::EcdsaSha384
            }
            Signer::Ecdsa(_) => SignatureAlgorithm::EcdsaSha256,
        }
    }
}

/// How a CSR is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    EcdsaSha256,
    EcdsaSha384,
    RsaPkcs1Sha256,
}

/// A key that can't be made, read or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The generator failed.
    #[error("can't generate a key pair")]
    Generate,
    /// A key just made can't be encoded.
    #[error("can't encode a key pair")]
    Encode,
    /// Signing failed.
    #[error("can't sign with a key just made")]
    Sign,
    /// Stored bytes are not a P-256 key.
    #[error("not a P-256 private key in PKCS#8")]
    NotP256,
}
