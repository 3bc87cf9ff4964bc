//! What has to be proven about an authority before its key signs anything.

use std::sync::Arc;

use der::{Decode, Encode};
use plastron_hsm::{KeyId, KeyRecord, KeyStore, KeyStoreError};
use plastron_spiffe::x509::IssueError;
use plastron_spiffe::{Bundle, JwtAuthority};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;

use crate::store::{JournalAuthority, JournalEntry, Publication, SlotName, StoreError, subject_key_id};

/// Proof that the bundle, as committed, has what makes this journal entry trusted.
#[derive(Clone, Debug)]
pub struct PublishedAuthority {
    entry: Arc<JournalEntry>,
}

impl PublishedAuthority {
    /// Looks for the certificate, the upstream root or the JWT key in the bundle. A tainted authority counts as not published: nothing new is signed with it.
    pub fn find(entry: &Arc<JournalEntry>, bundle: &Bundle) -> Result<Self, AuthorityError> {
        match Self::listing(entry, bundle) {
            Some(Listing::Good) => Ok(Self { entry: Arc::clone(entry) }),
            Some(Listing::Tainted) | None => Err(AuthorityError::Unpublished { slot: entry.slot }),
        }
    }

    /// Whether the bundle has it at all, tainted or not.
    pub(crate) fn is_listed(entry: &JournalEntry, bundle: &Bundle) -> bool {
        Self::listing(entry, bundle).is_some()
    }

    /// Whether it hangs from an upstream root that the bundle has as tainted.
    pub(crate) fn hangs_from_tainted_root(entry: &JournalEntry, bundle: &Bundle) -> bool {
        matches!(entry.own_publication(), Publication::Upstream)
            && matches!(Self::listing(entry, bundle), Some(Listing::Tainted))
    }

    fn listing(entry: &JournalEntry, bundle: &Bundle) -> Option<Listing> {
        let x509 = |wanted: &dyn Fn(&[u8]) -> bool| {
            bundle.x509_authorities.iter().find(|it| wanted(&it.certificate)).map(|it| it.tainted)
        };
        let tainted = match entry.own_publication() {
            Publication::X509(own) => x509(&|certificate| certificate == own.certificate),
            Publication::Upstream => {
                let upstream = entry.ca().and_then(|ca| ca.upstream_authority_id.as_deref());
                x509(&|certificate| upstream.is_some() && subject_key_id(certificate).as_deref() == upstream)
            }
            Publication::Jwt(own) => {
                let is_it = |it: &&JwtAuthority| it.key_id == own.key_id && it.public_key == own.public_key;
                bundle.jwt_authorities.iter().find(is_it).map(|it| it.tainted)
            }
        };
        tainted.map(|tainted| if tainted { Listing::Tainted } else { Listing::Good })
    }

    /// The journal entry that it is about.
    pub fn entry(&self) -> &Arc<JournalEntry> {
        &self.entry
    }
}

/// How the bundle has an authority.
enum Listing {
    Good,
    Tainted,
}

/// Proof that the key store has the key of this journal entry, and that it is the one that relying parties know.
#[derive(Clone, Debug)]
pub struct MatchedKey {
    slot: SlotName,
    record: KeyRecord,
}

impl MatchedKey {
    /// Checks, in order: the key store has the key; its public key has the journalled hash; it is the one that relying parties know.
    pub async fn find(entry: &JournalEntry, keys: &dyn KeyStore) -> Result<Self, AuthorityError> {
        let slot = entry.slot;
        let found = keys.find(&entry.key_id).await.map_err(|source| AuthorityError::KeyStore { slot, source })?;
        let record = found.ok_or_else(|| AuthorityError::KeyMissing { slot, id: entry.key_id.clone() })?;
        let got = spki_sha256(&record.public_key);
        if got != entry.spki_sha256 {
            return Err(AuthorityError::KeyChanged {
                slot,
                id: entry.key_id.clone(),
                journal: hex::encode(entry.spki_sha256),
                found: hex::encode(got),
            });
        }
        let malformed = |reason: der::Error| AuthorityError::Certificate { slot, reason: reason.to_string() };
        let known = match &entry.authority {
            JournalAuthority::X509(ca) => {
                let certificate = Certificate::from_der(&ca.certificate).map_err(malformed)?;
                certificate.tbs_certificate().subject_public_key_info().to_der().map_err(malformed)?
            }
            JournalAuthority::Jwt(key) => key.public_key.clone(),
        };
        if known != record.public_key {
            return Err(AuthorityError::Certificate {
                slot,
                reason: "it certifies another key than the slot's".to_owned(),
            });
        }
        Ok(Self { slot, record })
    }

    /// The slot that it is about.
    pub fn slot(&self) -> SlotName {
        self.slot
    }

    /// The key.
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }
}

pub(crate) fn spki_sha256(spki: &[u8]) -> [u8; 32] {
    Sha256::digest(spki).into()
}

/// Why an authority does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The bundle does not have its certificate, or has it as tainted.
    #[error("the authority in slot {slot} is not in the bundle")]
    Unpublished {
        /// The slot.
        slot: SlotName,
    },
    /// The key store has lost the key.
    #[error("the key store has no key {id}, which the CA journal names for slot {slot}")]
    KeyMissing {
        /// The slot.
        slot: SlotName,
        /// The key.
        id: KeyId,
    },
    /// The key store has another key under the same identifier.
    #[error(
        "the key {id} of slot {slot} is another key than the one in the CA journal (SHA-256 {found}, not {journal}); \
         find out who replaced it before this server signs again"
    )]
    KeyChanged {
        /// The slot.
        slot: SlotName,
        /// The key.
        id: KeyId,
        /// SHA-256 of the public key in the journal, hex.
        journal: String,
        /// SHA-256 of the public key in the key store, hex.
        found: String,
    },
    /// The journal's certificate does not fit.
    #[error("the CA certificate of slot {slot} is not usable: {reason}")]
    Certificate {
        /// The slot.
        slot: SlotName,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate can't be used as an issuer.
    #[error("the CA certificate of slot {slot} can't issue")]
    Issuer {
        /// The slot.
        slot: SlotName,
        /// What is wrong with it.
        source: IssueError,
    },
    /// The journal does not say that it ever signed.
    #[error("the authority in slot {slot} was not active before")]
    NeverActive {
        /// The slot.
        slot: SlotName,
    },
    /// Whether everyone has it is not known.
    #[error("it is not known whether every server serves the authority in slot {slot}")]
    Unacknowledged {
        /// The slot.
        slot: SlotName,
        /// What the store said.
        source: StoreError,
    },
    /// A CA's slot with a JWT key, or the other way round.
    #[error("slot {slot} holds an authority of another kind")]
    OtherKind {
        /// The slot.
        slot: SlotName,
    },
    /// The proofs are about different slots.
    #[error("slot {published} is published, and the key is that of slot {key}")]
    OtherSlot {
        /// The published slot.
        published: SlotName,
        /// The key's slot.
        key: SlotName,
    },
    /// The key store failed.
    #[error("the key of slot {slot} can't be used")]
    KeyStore {
        /// The slot.
        slot: SlotName,
        /// What the key store said.
        source: KeyStoreError,
    },
    /// Another key than the authority's signed: the key store's handle has come to mean another one.
    #[error(
        "a signature by the key of slot {slot} does not verify under its public key: the key store signs with another key; \
         nothing that it signed was handed out. Find out who replaced the key, and start the server again"
    )]
    ForeignSignature {
        /// The slot.
        slot: SlotName,
    },
    /// The key store's signature is not by the key that it showed.
    #[error("a test signature by the key of slot {slot} does not verify")]
    BadSignature {
        /// The slot.
        slot: SlotName,
    },
}
