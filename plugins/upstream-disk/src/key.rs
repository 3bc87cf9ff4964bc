//! The upstream's private key: PKCS#8, SEC 1 or PKCS#1; P-256, P-384 or RSA from 2048 bits on.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use plastron_spiffe::x509::SignatureAlgorithm;
use rustls_pki_types::PrivateKeyDer;

/// A key that signs certificates.
pub(crate) enum UpstreamKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamKey")
    }
}

/// Why a key can't be used. The key itself is in no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Another kind of key, or an RSA key that is too weak.
    #[error("it is no P-256 or P-384 key, and no RSA key of 2048 to 8192 bits")]
    Unsupported,
    /// It did not sign.
    #[error("signing failed")]
    Sign,
}

impl UpstreamKey {
    pub(crate) fn parse(der: &PrivateKeyDer<'_>) -> Result<Self, KeyFault> {
        let bytes = der.secret_der();
        let rsa = match der {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes).ok(),
            PrivateKeyDer::Pkcs8(_) => RsaKeyPair::from_pkcs8(bytes).ok(),
            _ec => None,
        };
        // aws-lc-rs takes none of less than 2048 bits.
        if let Some(rsa) = rsa {
            return Ok(Self::Rsa(rsa));
        }
        // Takes SEC 1 and PKCS#8, and refuses a key of another curve.
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes) {
            return Ok(Self::P256(pair));
        }
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, bytes);
        pair.map(Self::P384).map_err(|_rejected| KeyFault::Unsupported)
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, KeyFault> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        }
        .map_err(|_unspecified| KeyFault::Unsupported)?;
        Ok(der.as_ref().to_vec())
    }

    pub(crate) fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::P256(_) => SignatureAlgorithm::EcdsaSha256,
            Self::P384(_) => SignatureAlgorithm::EcdsaSha384,
            Self::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let random = SystemRandom::new();
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_unspecified| KeyFault::Sign)
    }
}
