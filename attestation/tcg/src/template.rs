//! Endorsement-key templates (TCG EK Credential Profile 2.5, annex B).

use crate::algorithm::{ALG_AES, ALG_CFB};
use crate::{EccCurve, HashAlgorithm, ObjectAttributes, PublicKey, SymmetricDefinition, TpmtPublic};

/// The endorsement-key templates that this project can enrol (TCG EK Credential Profile 2.5, annex B).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    /// L-1: RSA-2048, SHA-256, AES-128-CFB, PolicySecret(endorsement). NV 0x01c00002.
    L1Rsa2048,
    /// H-3: P-384, SHA-384, AES-256-CFB, user auth set. NV 0x01c00016.
    H3P384,
}

/// PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256: PolicyA of the profile.
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// PolicyOR(PolicyA, PolicyC) with SHA-384: PolicyB of the profile.
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

const ATTRIBUTES_L: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .with(ObjectAttributes::ADMIN_WITH_POLICY)
    .with(ObjectAttributes::RESTRICTED)
    .with(ObjectAttributes::DECRYPT);

const ATTRIBUTES_H: ObjectAttributes = ATTRIBUTES_L.with(ObjectAttributes::USER_WITH_AUTH);

impl EkTemplate {
    /// Every template.
    pub const ALL: [Self; 2] = [Self::L1Rsa2048, Self::H3P384];

    /// `rsa2048` or `p384`: as in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1Rsa2048 => "rsa2048",
            Self::H3P384 => "p384",
        }
    }

    /// From that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.name() == name)
    }

    /// The NV index of its certificate.
    pub fn certificate_nv_index(self) -> u32 {
        match self {
            Self::L1Rsa2048 => 0x01c0_0002,
            Self::H3P384 => 0x01c0_0016,
        }
    }

    /// nameAlg.
    pub fn name_alg(self) -> HashAlgorithm {
        match self {
            Self::L1Rsa2048 => HashAlgorithm::Sha256,
            Self::H3P384 => HashAlgorithm::Sha384,
        }
    }

    /// objectAttributes.
    pub fn attributes(self) -> ObjectAttributes {
        match self {
            Self::L1Rsa2048 => ATTRIBUTES_L,
            Self::H3P384 => ATTRIBUTES_H,
        }
    }

    /// authPolicy.
    pub fn auth_policy(self) -> &'static [u8] {
        match self {
            Self::L1Rsa2048 => &POLICY_A_SHA256,
            Self::H3P384 => &POLICY_B_SHA384,
        }
    }

    /// Symmetric algorithm that protects children and credentials.
    pub fn symmetric(self) -> SymmetricDefinition {
        let key_bits = match self {
            Self::L1Rsa2048 => 128,
            Self::H3P384 => 256,
        };
        SymmetricDefinition { algorithm: ALG_AES, key_bits, mode: ALG_CFB }
    }

    /// The first field in which a public area differs from this template, or `None`: the unique field is not compared.
    pub fn difference(self, public: &TpmtPublic<'_>) -> Option<&'static str> {
        if public.name_alg != self.name_alg() {
            return Some("nameAlg");
        }
        if public.attributes != self.attributes() {
            return Some("objectAttributes");
        }
        if public.auth_policy != self.auth_policy() {
            return Some("authPolicy");
        }
        if public.symmetric != Some(self.symmetric()) {
            return Some("symmetric");
        }
        if public.scheme.is_some() {
            return Some("scheme");
        }
        match (self, &public.key) {
            (Self::L1Rsa2048, PublicKey::Rsa { key_bits, exponent, modulus }) => match (key_bits, exponent) {
                (2048, 65537) if modulus.len() == 256 => None,
                (2048, 65537) => Some("modulus length"),
                (2048, _) => Some("exponent"),
                _ => Some("keyBits"),
            },
            (Self::H3P384, PublicKey::Ecc { curve: EccCurve::P384, .. }) => None,
            (Self::H3P384, PublicKey::Ecc { .. }) => Some("curveID"),
            (Self::L1Rsa2048, PublicKey::Ecc { .. }) | (Self::H3P384, PublicKey::Rsa { .. }) => Some("type"),
        }
    }
}
