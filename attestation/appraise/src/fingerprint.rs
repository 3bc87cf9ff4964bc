//! The fingerprint of an EK: the SHA-256 of the SubjectPublicKeyInfo that is encoded here from its TPMT_PUBLIC.
//!
//! The certificate's own encoding is never hashed, so a TPM has one fingerprint however its certificate spells the key
//! (RSA always as rsaEncryption with NULL parameters, RFC 3279 section 2.3; EC with a named curve, RFC 5480).

use std::fmt;

use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Encode, Sequence};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm, PublicKey, ReadError, TpmtPublic};

/// SHA-256 of an EK's SubjectPublicKeyInfo: the node's identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EkFingerprint([u8; 32]);

impl EkFingerprint {
    /// The fingerprint of this public area.
    pub fn of(public: &TpmtPublic<'_>) -> Result<Self, FingerprintError> {
        Ok(Self::of_spki(&encode_spki(&public.key)?))
    }

    /// The fingerprint of the public area in these bytes.
    pub fn of_bytes(ek_public: &[u8]) -> Result<Self, FingerprintError> {
        Self::of(&TpmtPublic::parse(ek_public)?)
    }

    pub(crate) fn of_spki(spki: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        for (to, from) in fingerprint.iter_mut().zip(HashAlgorithm::Sha256.digest([spki])) {
            *to = from;
        }
        Self(fingerprint)
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut fingerprint = [0; 32];
        hex::decode_to_slice(text, &mut fingerprint).ok()?;
        Some(Self(fingerprint))
    }

    /// The path of the agent's SPIFFE ID, `/spire/agent/tpm/<fingerprint>`.
    pub fn agent_path(&self) -> String {
        format!("/spire/agent/tpm/{self}")
    }
}

impl fmt::Display for EkFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EkFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EkFingerprint({self})")
    }
}

/// Why a public area has no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// It does not parse.
    #[error("the public area does not parse")]
    Parse(#[from] ReadError),
    /// A template without a key, or a coordinate that is too long.
    #[error("the public area holds no key: {reason}")]
    NoKey {
        /// What is missing.
        reason: &'static str,
    },
}

/// SubjectPublicKeyInfo of the key in a public area, DER, as its fingerprint is made of.
pub fn subject_public_key_info(public: &TpmtPublic<'_>) -> Result<Vec<u8>, FingerprintError> {
    encode_spki(&public.key)
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// SubjectPublicKeyInfo of a TPM's key, DER.
pub(crate) fn encode_spki(key: &PublicKey<'_>) -> Result<Vec<u8>, FingerprintError> {
    let encoded = match key {
        PublicKey::Rsa { modulus, exponent, .. } => encode_rsa(modulus, *exponent),
        PublicKey::Ecc { curve, x, y } => encode_point(*curve, x, y),
    };
    encoded.map_err(|reason| FingerprintError::NoKey { reason })
}

fn encode_rsa(modulus: &[u8], exponent: u32) -> Result<Vec<u8>, &'static str> {
    if modulus.is_empty() {
        return Err("the modulus is empty");
    }
    let key = UintRef::new(modulus)
        .and_then(|modulus| {
            let exponent = exponent.to_be_bytes();
            RsaPublicKey { modulus, exponent: UintRef::new(&exponent)? }.to_der()
        })
        .map_err(|_| "the modulus can't be encoded")?;
    encode(spki::AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) }, &key)
}

fn encode_point(curve: EccCurve, x: &[u8], y: &[u8]) -> Result<Vec<u8>, &'static str> {
    let point = plastron_attestation_tcg::sec1_point(curve, x, y).ok_or("a coordinate is empty or too long")?;
    let curve = match curve {
        EccCurve::P256 => SECP_256_R_1,
        EccCurve::P384 => SECP_384_R_1,
    };
    encode(spki::AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&curve)) }, &point)
}

fn encode(algorithm: spki::AlgorithmIdentifierRef<'_>, key: &[u8]) -> Result<Vec<u8>, &'static str> {
    BitStringRef::from_bytes(key)
        .and_then(|subject_public_key| {
            spki::SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>> { algorithm, subject_public_key }.to_der()
        })
        .map_err(|_| "the key can't be encoded")
}
