//! The CA journal and the bundle in the store.

use std::fmt;
use std::sync::Arc;

use plastron_hsm::KeyId;
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority};

use super::{Committed, StoreError};

/// One of the two places for X.509 CA keys; SPIRE's key manager identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotName {
    /// `x509-CA-A`.
    X509CaA,
    /// `x509-CA-B`.
    X509CaB,
}

impl SlotName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X509CaA, Self::X509CaB];

    /// SPIRE's identifier.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X509CaA => "x509-CA-A",
            Self::X509CaB => "x509-CA-B",
        }
    }

    /// From SPIRE's identifier.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text)
    }

    /// The slot for the next key.
    pub fn other(self) -> Self {
        match self {
            Self::X509CaA => Self::X509CaB,
            Self::X509CaB => Self::X509CaA,
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

/// What the journal says about a slot: which key of the key store it is, and what that key must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The slot.
    pub slot: SlotName,
    /// The key store's identifier.
    pub key_id: KeyId,
    /// SHA-256 of the key's SubjectPublicKeyInfo: the key store's answer is compared with it before the key is used.
    pub spki_sha256: [u8; 32],
    /// The CA certificate, DER.
    pub certificate: Vec<u8>,
    /// Validity of the certificate, Unix seconds.
    pub not_before: u64,
    /// Validity of the certificate, Unix seconds.
    pub not_after: u64,
    /// Where it is in its life.
    pub status: SlotStatus,
}

/// Keeps the CA journal and the bundle of the server's own trust domain.
#[async_trait::async_trait]
pub trait AuthorityStore: Send + Sync {
    /// In one transaction: the slot is `Prepared` with this entry and the bundle has its certificate. From then on it may sign.
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
    ) -> Result<Committed<Arc<Bundle>>, StoreError>;

    /// In one transaction: the slot becomes `Active` and the other one, if it was active, `Old`.
    async fn activate_authority(&self, slot: SlotName) -> Result<Committed<()>, StoreError>;

    /// Adds authorities that the bundle does not have yet.
    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError>;

    /// In one transaction: the bundle loses those of these certificates (DER) that no CA slot has, and its sequence number rises.
    /// Says how many; nothing happens where the bundle would be left without any.
    async fn drop_authorities(&self, certificates: Vec<Vec<u8>>) -> Result<Committed<usize>, StoreError>;
}
