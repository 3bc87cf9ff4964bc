//! Endorsement-key templates (TCG EK Credential Profile 2.5, annex B): what an EK of each kind looks like, where NV keeps what
//! belongs to it, and how its use is authorised.
//!
//! The low range (L) takes no authorisation value, only PolicySecret(TPM_RH_ENDORSEMENT); the high range (H) takes the EK's own value,
//! which is empty, or a policy. Not here: P-521, RSA-4096 and SM2 (H-4, H-7, H-5), which no supported TPM simulator makes.

use crate::algorithm::{ALG_AES, ALG_CFB, ALG_ECC, ALG_NULL, ALG_RSA};
use crate::{EccCurve, HashAlgorithm, ObjectAttributes, PublicKey, SymmetricDefinition, TpmtPublic};

/// The endorsement-key templates that this project can enrol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    /// L-1: RSA-2048, SHA-256, AES-128-CFB.
    L1Rsa2048,
    /// L-2: P-256, SHA-256, AES-128-CFB.
    L2P256,
    /// H-1: RSA-2048, SHA-256, AES-128-CFB.
    H1Rsa2048,
    /// H-2: P-256, SHA-256, AES-128-CFB.
    H2P256,
    /// H-3: P-384, SHA-384, AES-256-CFB.
    H3P384,
    /// H-6: RSA-3072, SHA-384, AES-256-CFB.
    H6Rsa3072,
}

/// Kind and size of a template's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkKeyType {
    /// RSA with a modulus of this many bits, and exponent 65537.
    Rsa(u16),
    /// A point of this curve.
    Ecc(EccCurve),
}

/// How the use of an EK as a parent is authorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkAuthorisation {
    /// By its policy: TPM2_PolicySecret with TPM_RH_ENDORSEMENT, whose value has to be known.
    EndorsementPolicy,
    /// By its own authorisation value, which is empty.
    EmptyAuthValue,
}

/// Where NV keeps what belongs to an EK (TCG EK Credential Profile 2.5, section 2.2.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EkNvIndices {
    /// Its certificate.
    pub certificate: u32,
    /// A nonce that goes into the template's unique field. High-range templates have none.
    pub nonce: Option<u32>,
    /// A template that the platform uses in place of the profile's.
    pub template: u32,
}

/// PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256: PolicyA of the profile.
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// PolicyOR(PolicyA, PolicyC) with SHA-256: PolicyB of the profile.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
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
    pub const ALL: [Self; 6] =
        [Self::L1Rsa2048, Self::L2P256, Self::H1Rsa2048, Self::H2P256, Self::H3P384, Self::H6Rsa3072];

    /// As in configuration and reports: the kind of key, with `-high` where the low range has the same kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1Rsa2048 => "rsa2048",
            Self::L2P256 => "p256",
            Self::H1Rsa2048 => "rsa2048-high",
            Self::H2P256 => "p256-high",
            Self::H3P384 => "p384",
            Self::H6Rsa3072 => "rsa3072",
        }
    }

    /// From that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.name() == name)
    }

    /// Every name, for a message: `rsa2048, p256, …`.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Kind and size of the key.
    pub fn key_type(self) -> EkKeyType {
        match self {
            Self::L1Rsa2048 | Self::H1Rsa2048 => EkKeyType::Rsa(2048),
            Self::L2P256 | Self::H2P256 => EkKeyType::Ecc(EccCurve::P256),
            Self::H3P384 => EkKeyType::Ecc(EccCurve::P384),
            Self::H6Rsa3072 => EkKeyType::Rsa(3072),
        }
    }

    /// How its use is authorised; the attributes and the policy follow from it.
    pub fn authorisation(self) -> EkAuthorisation {
        match self {
            Self::L1Rsa2048 | Self::L2P256 => EkAuthorisation::EndorsementPolicy,
            Self::H1Rsa2048 | Self::H2P256 | Self::H3P384 | Self::H6Rsa3072 => EkAuthorisation::EmptyAuthValue,
        }
    }

    /// Where NV keeps what belongs to it.
    pub fn nv_indices(self) -> EkNvIndices {
        let (certificate, nonce, template) = match self {
            Self::L1Rsa2048 => (0x01c0_0002, Some(0x01c0_0003), 0x01c0_0004),
            Self::L2P256 => (0x01c0_000a, Some(0x01c0_000b), 0x01c0_000c),
            Self::H1Rsa2048 => (0x01c0_0012, None, 0x01c0_0013),
            Self::H2P256 => (0x01c0_0014, None, 0x01c0_0015),
            Self::H3P384 => (0x01c0_0016, None, 0x01c0_0017),
            Self::H6Rsa3072 => (0x01c0_001c, None, 0x01c0_001d),
        };
        EkNvIndices { certificate, nonce, template }
    }

    /// The NV index of its certificate.
    pub fn certificate_nv_index(self) -> u32 {
        self.nv_indices().certificate
    }

    /// nameAlg: also the hash of its credentials and of sessions that are salted to it.
    pub fn name_alg(self) -> HashAlgorithm {
        match self {
            Self::L1Rsa2048 | Self::L2P256 | Self::H1Rsa2048 | Self::H2P256 => HashAlgorithm::Sha256,
            Self::H3P384 | Self::H6Rsa3072 => HashAlgorithm::Sha384,
        }
    }

    /// objectAttributes.
    pub fn attributes(self) -> ObjectAttributes {
        match self.authorisation() {
            EkAuthorisation::EndorsementPolicy => ATTRIBUTES_L,
            EkAuthorisation::EmptyAuthValue => ATTRIBUTES_H,
        }
    }

    /// authPolicy.
    pub fn auth_policy(self) -> &'static [u8] {
        match self {
            Self::L1Rsa2048 | Self::L2P256 => &POLICY_A_SHA256,
            Self::H1Rsa2048 | Self::H2P256 => &POLICY_B_SHA256,
            Self::H3P384 | Self::H6Rsa3072 => &POLICY_B_SHA384,
        }
    }

    /// Symmetric algorithm that protects children and credentials.
    pub fn symmetric(self) -> SymmetricDefinition {
        let key_bits = match self {
            Self::L1Rsa2048 | Self::L2P256 | Self::H1Rsa2048 | Self::H2P256 => 128,
            Self::H3P384 | Self::H6Rsa3072 => 256,
        };
        SymmetricDefinition { algorithm: ALG_AES, key_bits, mode: ALG_CFB }
    }

    /// TPMT_PUBLIC as the template has it, up to and without `unique`: what follows is the TPM's modulus, or its two coordinates.
    pub fn public_before_unique(self) -> Vec<u8> {
        let SymmetricDefinition { algorithm, key_bits, mode } = self.symmetric();
        let mut public = Vec::new();
        let algorithm_of_key = match self.key_type() {
            EkKeyType::Rsa(_) => ALG_RSA,
            EkKeyType::Ecc(_) => ALG_ECC,
        };
        for field in [algorithm_of_key, self.name_alg().id()] {
            public.extend(field.to_be_bytes());
        }
        public.extend(self.attributes().0.to_be_bytes());
        put_tpm2b(&mut public, self.auth_policy());
        for field in [algorithm, key_bits, mode, ALG_NULL] {
            public.extend(field.to_be_bytes());
        }
        match self.key_type() {
            // An exponent of 0 means 65537.
            EkKeyType::Rsa(bits) => {
                public.extend(bits.to_be_bytes());
                public.extend(0u32.to_be_bytes());
            }
            EkKeyType::Ecc(curve) => {
                for field in [curve.id(), ALG_NULL] {
                    public.extend(field.to_be_bytes());
                }
            }
        }
        public
    }

    /// The TPMT_PUBLIC that TPM2_CreatePrimary is given. In the low range `unique` holds zeros as long as the modulus or the coordinates,
    /// with the nonce, if NV has one, at the beginning of the first; in the high range it is empty.
    pub fn create_primary_public(self, nonce: &[u8]) -> Vec<u8> {
        let mut public = self.public_before_unique();
        let (first, second) = match (self.authorisation(), self.key_type()) {
            (EkAuthorisation::EmptyAuthValue, EkKeyType::Rsa(_)) => (0, None),
            (EkAuthorisation::EmptyAuthValue, EkKeyType::Ecc(_)) => (0, Some(0)),
            (EkAuthorisation::EndorsementPolicy, EkKeyType::Rsa(bits)) => (usize::from(bits / 8), None),
            (EkAuthorisation::EndorsementPolicy, EkKeyType::Ecc(curve)) => (curve.field_len(), Some(curve.field_len())),
        };
        let mut unique: Vec<u8> = nonce.iter().copied().take(first).collect();
        unique.resize(first, 0);
        put_tpm2b(&mut public, &unique);
        if let Some(len) = second {
            put_tpm2b(&mut public, &vec![0; len]);
        }
        public
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
        match (self.key_type(), &public.key) {
            (EkKeyType::Rsa(bits), PublicKey::Rsa { key_bits, exponent, modulus }) => {
                if *key_bits != bits {
                    Some("keyBits")
                } else if *exponent != 65537 {
                    Some("exponent")
                } else if modulus.len() != usize::from(bits / 8) {
                    Some("modulus length")
                } else {
                    None
                }
            }
            (EkKeyType::Ecc(wanted), PublicKey::Ecc { curve, .. }) if *curve == wanted => None,
            (EkKeyType::Ecc(_), PublicKey::Ecc { .. }) => Some("curveID"),
            (EkKeyType::Rsa(_), PublicKey::Ecc { .. }) | (EkKeyType::Ecc(_), PublicKey::Rsa { .. }) => Some("type"),
        }
    }
}

/// With a 16-bit size. What a template holds has at most 256 bytes.
fn put_tpm2b(public: &mut Vec<u8>, bytes: &[u8]) {
    public.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    public.extend_from_slice(bytes);
}
