//! The CA journal: whose slot holds which key of the key store, what that key must be, and where it is in its life.

use std::fmt;

use plastron_hsm::KeyId;
pub use plastron_spiffe::x509::subject_key_id;
use plastron_spiffe::{JwtAuthority, X509Authority};

/// A server of the trust domain, as the journal names it: random, and found again by the keys that the key store holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId([u8; 16]);

impl ServerId {
    /// The owner of slots that were written before a database could have several servers.
    pub const FIRST: Self = Self([0; 16]);

    /// From random octets.
    pub const fn from_random(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// From its text form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 16];
        let lower_case = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        (lower_case && hex::decode_to_slice(text, &mut octets).is_ok()).then_some(Self(octets))
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerId({self})")
    }
}

/// What a slot's key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotKind {
    /// X.509-SVIDs.
    X509,
    /// JWT-SVIDs.
    Jwt,
}

impl SlotKind {
    /// The two slots of this kind.
    pub fn slots(self) -> [SlotName; 2] {
        match self {
            Self::X509 => [SlotName::X509CaA, SlotName::X509CaB],
            Self::Jwt => [SlotName::JwtSignerA, SlotName::JwtSignerB],
        }
    }
}

/// One of the two places for keys of a kind; SPIRE's key manager identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotName {
    /// `x509-CA-A`.
    X509CaA,
    /// `x509-CA-B`.
    X509CaB,
    /// `JWT-Signer-A`.
    JwtSignerA,
    /// `JWT-Signer-B`.
    JwtSignerB,
}

impl SlotName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::X509CaA, Self::X509CaB, Self::JwtSignerA, Self::JwtSignerB];

    /// SPIRE's identifier.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X509CaA => "x509-CA-A",
            Self::X509CaB => "x509-CA-B",
            Self::JwtSignerA => "JWT-Signer-A",
            Self::JwtSignerB => "JWT-Signer-B",
        }
    }

    /// From SPIRE's identifier.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text)
    }

    /// What its key signs.
    pub fn kind(self) -> SlotKind {
        match self {
            Self::X509CaA | Self::X509CaB => SlotKind::X509,
            Self::JwtSignerA | Self::JwtSignerB => SlotKind::Jwt,
        }
    }

    /// The slot for the next key of its kind.
    pub fn other(self) -> Self {
        match self {
            Self::X509CaA => Self::X509CaB,
            Self::X509CaB => Self::X509CaA,
            Self::JwtSignerA => Self::JwtSignerB,
            Self::JwtSignerB => Self::JwtSignerA,
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an authority is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotStatus {
    /// Published, signs nothing yet.
    Prepared,
    /// Signs.
    Active,
    /// Signs no more; what it signed is still trusted.
    Old,
}

impl SlotStatus {
    /// The number in SPIRE's journal.
    pub fn number(self) -> i64 {
        match self {
            Self::Prepared => 2,
            Self::Active => 3,
            Self::Old => 4,
        }
    }

    /// From the number in SPIRE's journal.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Old].into_iter().find(|status| status.number() == number)
    }
}

/// What the journal says about a slot: whose it is, which key of the key store it holds, and what that key must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Whose slot it is: only the server that has the key.
    pub server: ServerId,
    /// The slot.
    pub slot: SlotName,
    /// The key store's identifier.
    pub key_id: KeyId,
    /// SHA-256 of the key's SubjectPublicKeyInfo: the key store's answer is compared with it before the key is used.
    pub spki_sha256: [u8; 32],
    /// What the key is known by in the bundle. Its kind is the slot's.
    pub authority: JournalAuthority,
    /// Validity, Unix seconds.
    pub not_before: u64,
    /// Validity, Unix seconds.
    pub not_after: u64,
    /// Where it is in its life.
    pub status: SlotStatus,
}

/// What relying parties know a journalled key by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalAuthority {
    /// A CA.
    X509(JournalCa),
    /// A key that signs JWT-SVIDs.
    Jwt(JournalJwtKey),
}

/// The certificate of an X.509 CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalCa {
    /// The CA certificate, DER.
    pub certificate: Vec<u8>,
    /// Below an upstream authority: the certificates, DER, between this one and the upstream root, without either.
    pub intermediates: Vec<Vec<u8>>,
    /// Below an upstream authority: that root's subject key identifier, lower-case hex. `None` where the CA is self-signed.
    pub upstream_authority_id: Option<String>,
}

/// A key that signs JWT-SVIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalJwtKey {
    /// `kid`.
    pub key_id: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl JournalEntry {
    /// SPIRE's authority ID: the subject key identifier of a CA in lower-case hex, the `kid` of a JWT key. `None` where the
    /// certificate has no such identifier.
    pub fn authority_id(&self) -> Option<String> {
        match &self.authority {
            JournalAuthority::X509(ca) => subject_key_id(&ca.certificate),
            JournalAuthority::Jwt(key) => Some(key.key_id.clone()),
        }
    }

    /// Its CA certificate, where it is a CA.
    pub fn ca(&self) -> Option<&JournalCa> {
        match &self.authority {
            JournalAuthority::X509(ca) => Some(ca),
            JournalAuthority::Jwt(_) => None,
        }
    }

    /// What the bundle must have for this authority to sign, where that is the authority itself and not an upstream root.
    pub fn own_publication(&self) -> Publication {
        match &self.authority {
            JournalAuthority::X509(JournalCa { certificate, upstream_authority_id: None, intermediates: _ }) => {
                Publication::X509(X509Authority { certificate: certificate.clone(), tainted: false })
            }
            JournalAuthority::X509(JournalCa { upstream_authority_id: Some(_), .. }) => Publication::Upstream,
            JournalAuthority::Jwt(JournalJwtKey { key_id, public_key }) => Publication::Jwt(JwtAuthority {
                key_id: key_id.clone(),
                public_key: public_key.clone(),
                expires_at: i64::try_from(self.not_after).unwrap_or(i64::MAX),
                tainted: false,
            }),
        }
    }
}

/// What makes an authority trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Its own certificate.
    X509(X509Authority),
    /// A root that is not this server's.
    Upstream,
    /// Its public key.
    Jwt(JwtAuthority),
}
