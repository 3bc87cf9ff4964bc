//! Signature algorithms (JWT-SVID.md, section 2.1; RFC 7518, section 3), and which key goes with which.
//!
//! `none`, the HMACs, EdDSA and ES256K have no variant: a token that names one is refused before anything else is looked at.

use aws_lc_rs::{digest, signature};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

/// An algorithm that a JWT-SVID may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

impl JwtAlgorithm {
    /// All of them, in the standard's order.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// The value of `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// The algorithm with this exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The hash that is signed.
    pub(super) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Es256 | Self::Ps256 => &digest::SHA256,
            Self::Rs384 | Self::Es384 | Self::Ps384 => &digest::SHA384,
            Self::Rs512 | Self::Es512 | Self::Ps512 => &digest::SHA512,
        }
    }

    /// Length of an ECDSA signature, r and s one after the other (RFC 7518, section 3.4); none for RSA.
    pub(super) fn ecdsa_signature_len(self) -> Option<usize> {
        match self {
            Self::Es256 => Some(64),
            Self::Es384 => Some(96),
            Self::Es512 => Some(132),
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => None,
        }
    }

    /// The one type of key that this algorithm goes with.
    pub(super) fn key(self) -> AlgorithmIdentifier {
        match self {
            Self::Es256 => alg_id::ECDSA_P256,
            Self::Es384 => alg_id::ECDSA_P384,
            Self::Es512 => alg_id::ECDSA_P521,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => alg_id::RSA_ENCRYPTION,
        }
    }

    /// How aws-lc verifies it. ECDSA takes r and s in their fixed form and no DER.
    pub(super) fn verifier(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }
}
