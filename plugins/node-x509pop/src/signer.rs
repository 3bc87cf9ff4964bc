//! The agent's key: read from PEM, and made to sign both nonces.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
};
use p384::ecdsa::signature::hazmat::PrehashSigner as _;
use p384::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rustls_pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};

use crate::message::{EcdsaResponse, Octets, Response, RsaResponse};

/// A private key that the server can challenge.
pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>),
    /// P-256 and P-521.
    Ecdsa(Box<EcdsaKeyPair>),
    /// aws-lc-rs signs with P-384 over SHA-384 alone, and the protocol demands SHA-256.
    P384(Box<p384::ecdsa::SigningKey>),
}

impl Signer {
    /// PKCS#8, PKCS#1 or SEC 1.
    pub(crate) fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, SignerError> {
        let der = key.secret_der();
        let rsa = match key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der),
            _other => RsaKeyPair::from_pkcs8(der),
        };
        if let Ok(pair) = rsa {
            return Ok(Self::Rsa(Box::new(pair)));
        }
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| match key {
            PrivateKeyDer::Sec1(_) => EcdsaKeyPair::from_private_key_der(algorithm, der),
            _other => EcdsaKeyPair::from_pkcs8(algorithm, der),
        };
        for algorithm in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P521_SHA256_FIXED_SIGNING] {
            if let Ok(pair) = ecdsa(algorithm) {
                return Ok(Self::Ecdsa(Box::new(pair)));
            }
        }
        let p384 = match key {
            PrivateKeyDer::Sec1(_) => p384::SecretKey::from_sec1_der(der).ok(),
            _other => p384::SecretKey::from_pkcs8_der(der).ok(),
        };
        p384.map(|key| Self::P384(Box::new(key.into()))).ok_or(SignerError::Unsupported)
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, SignerError> {
        let x509 = |der: Result<PublicKeyX509Der<'_>, _>| {
            der.map(|der| der.as_ref().to_vec())
                .map_err(|_unspecified: aws_lc_rs::error::Unspecified| SignerError::Failed)
        };
        match self {
            Self::Rsa(pair) => x509(pair.public_key().as_der()),
            Self::Ecdsa(pair) => x509(pair.public_key().as_der()),
            Self::P384(key) => {
                let der = key.verifying_key().to_public_key_der().map_err(|_error| SignerError::Failed)?;
                Ok(der.into_vec())
            }
        }
    }

    /// Signs the server's nonce and one of our own.
    pub(crate) fn respond(&self, challenge: &[u8], nonce: Vec<u8>) -> Result<Response, SignerError> {
        let message = [challenge, nonce.as_slice()].concat();
        let nonce = Octets(nonce);
        let ecdsa = |signature: &[u8]| {
            let (r, s) = signature.split_at(signature.len() / 2);
            let response = EcdsaResponse { nonce: nonce.clone(), r: shortest(r), s: shortest(s) };
            Response { rsa_signature: None, ecdsa_signature: Some(response) }
        };
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut signature)
                    .map_err(|_unspecified| SignerError::Failed)?;
                let response = RsaResponse { nonce, signature: Octets(signature) };
                Ok(Response { rsa_signature: Some(response), ecdsa_signature: None })
            }
            Self::Ecdsa(pair) => {
                let signature =
                    pair.sign(&SystemRandom::new(), &message).map_err(|_unspecified| SignerError::Failed)?;
                Ok(ecdsa(signature.as_ref()))
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(&Sha256::digest(&message)).map_err(|_error| SignerError::Failed)?;
                Ok(ecdsa(&signature.to_bytes()))
            }
        }
    }

    /// Whether the server challenges this key as an RSA key.
    pub(crate) fn is_rsa(&self) -> bool {
        matches!(self, Self::Rsa(_))
    }
}

/// A number without leading zeros, as Go writes it.
fn shortest(number: &[u8]) -> Octets {
    let start = number.iter().position(|octet| *octet != 0).unwrap_or(number.len());
    Octets(number.get(start..).unwrap_or_default().to_vec())
}

/// Why a key does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignerError {
    #[error("the private key is none of RSA, P-256, P-384 and P-521 in PKCS#8, PKCS#1 or SEC 1")]
    Unsupported,
    #[error("the private key did not sign")]
    Failed,
}
