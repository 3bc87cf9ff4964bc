//! The authority that signs.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use plastron_hsm::{KeyId, KeyStore, KeyType, SignatureScheme};
use plastron_spiffe::x509::{Issuer, SignatureAlgorithm};
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256, Sha384};

use super::proof::{AuthorityError, MatchedKey, PublishedAuthority};
use crate::store::{SlotName, subject_key_id};

/// Seconds.
const DAY: u64 = 24 * 3600;

/// An authority that is published and whose key is the one in the journal. Nothing else signs SVIDs.
#[derive(Clone, Debug)]
pub struct SigningAuthority {
    published: PublishedAuthority,
    key: MatchedKey,
    issuer: Issuer,
    authority_id: String,
}

impl SigningAuthority {
    /// Puts both proofs together; they must be about the same slot.
    pub fn new(published: PublishedAuthority, key: MatchedKey) -> Result<Self, AuthorityError> {
        let entry = published.entry();
        let slot = entry.slot;
        if slot != key.slot() {
            return Err(AuthorityError::OtherSlot { published: slot, key: key.slot() });
        }
        let not_a_ca = || AuthorityError::Certificate { slot, reason: "it is no CA's".to_owned() };
        let ca = entry.ca().ok_or_else(not_a_ca)?;
        let issuer = Issuer::from_certificate(&ca.certificate, certificate_algorithm(key.record().key_type))
            .map_err(|source| AuthorityError::Issuer { slot, source })?;
        let authority_id = subject_key_id(&ca.certificate)
            .ok_or_else(|| AuthorityError::Certificate { slot, reason: "no subject key identifier".to_owned() })?;
        Ok(Self { published, key, issuer, authority_id })
    }

    /// The slot.
    pub fn slot(&self) -> SlotName {
        self.key.slot()
    }

    /// What leaves are made with.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The key store's identifier of the key.
    pub fn key_id(&self) -> &KeyId {
        &self.key.record().id
    }

    /// How the key signs certificates.
    pub fn scheme(&self) -> SignatureScheme {
        self.key.record().key_type.default_scheme()
    }

    /// SPIRE's authority ID: the subject key identifier in lower-case hex.
    pub fn authority_id(&self) -> &str {
        &self.authority_id
    }

    /// Unix seconds, inclusive.
    pub fn not_after(&self) -> u64 {
        self.published.entry().not_after
    }

    /// Whether it is time to prepare the next authority: less than half of its life is left, or of thirty days (SPIRE's rule).
    pub fn is_past_half(&self, now: UnixTime) -> bool {
        self.remaining(now) < (self.lifetime() / 2).min(30 * DAY)
    }

    /// Whether it is time for the next authority to sign: less than a sixth of its life is left, or of seven days (SPIRE's rule).
    pub fn is_near_end(&self, now: UnixTime) -> bool {
        self.remaining(now) < (self.lifetime() / 6).min(7 * DAY)
    }

    fn lifetime(&self) -> u64 {
        let entry = self.published.entry();
        entry.not_after.saturating_sub(entry.not_before)
    }

    fn remaining(&self, now: UnixTime) -> u64 {
        self.not_after().saturating_sub(now.as_secs())
    }

    /// Has the key store sign something and verifies the signature: proof that the key is there and is the right one.
    pub async fn probe(&self, keys: &dyn KeyStore) -> Result<(), AuthorityError> {
        const PROBE: &[u8] = b"plastron/ca/probe/1";
        let slot = self.slot();
        let record = self.key.record();
        let (digest, algorithm): (Vec<u8>, &dyn VerificationAlgorithm) = match record.key_type {
            KeyType::EcP256 => (Sha256::digest(PROBE).to_vec(), &signature::ECDSA_P256_SHA256_ASN1),
            KeyType::EcP384 => (Sha384::digest(PROBE).to_vec(), &signature::ECDSA_P384_SHA384_ASN1),
            KeyType::Rsa2048 | KeyType::Rsa4096 => {
                (Sha256::digest(PROBE).to_vec(), &signature::RSA_PKCS1_2048_8192_SHA256)
            }
        };
        let signed = keys
            .sign(&record.id, self.scheme(), &digest)
            .await
            .map_err(|source| AuthorityError::KeyStore { slot, source })?;
        UnparsedPublicKey::new(algorithm, &record.public_key)
            .verify(PROBE, &signed)
            .map_err(|_unspecified| AuthorityError::BadSignature { slot })
    }
}

/// The algorithm of certificates signed by a key of this type.
pub(crate) fn certificate_algorithm(key_type: KeyType) -> SignatureAlgorithm {
    match key_type {
        KeyType::EcP256 => SignatureAlgorithm::EcdsaSha256,
        KeyType::EcP384 => SignatureAlgorithm::EcdsaSha384,
        KeyType::Rsa2048 | KeyType::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
    }
}
