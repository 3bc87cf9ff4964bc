//! The authority that signs.

use std::fmt::Debug;
use std::sync::Arc;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use plastron_hsm::{KeyId, KeyRecord, KeyStore, KeyType, SignatureScheme};
use plastron_spiffe::jwt::JwtAlgorithm;
use plastron_spiffe::x509::{Issuer, SignatureAlgorithm};
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256, Sha384};

use super::acknowledged::AcknowledgedAuthority;
use super::lifetime;
use super::proof::{AuthorityError, MatchedKey};
use crate::store::{JournalEntry, SlotKind, SlotName, subject_key_id};

/// What a key of one kind of slot signs with, read from the journal once.
pub trait SigningUse: Clone + Debug + Send + Sync + Sized + 'static {
    /// The kind.
    const KIND: SlotKind;

    /// From a journal entry and the key that belongs to it.
    fn read(entry: &JournalEntry, key: &KeyRecord) -> Result<Self, AuthorityError>;
}

/// What leaves are made with.
#[derive(Clone, Debug)]
pub struct X509Use {
    certificate: Vec<u8>,
    issuer: Issuer,
    chain: Vec<Vec<u8>>,
    anchor_id: Arc<str>,
}

impl SigningUse for X509Use {
    const KIND: SlotKind = SlotKind::X509;

    fn read(entry: &JournalEntry, key: &KeyRecord) -> Result<Self, AuthorityError> {
        let slot = entry.slot;
        let ca = entry.ca().ok_or(AuthorityError::OtherKind { slot })?;
        let issuer = Issuer::from_certificate(&ca.certificate, certificate_algorithm(key.key_type))
            .map_err(|source| AuthorityError::Issuer { slot, source })?;
        let own_id = || subject_key_id(&ca.certificate);
        let anchor_id = ca.upstream_authority_id.clone().or_else(own_id).ok_or_else(|| no_identifier(slot))?;
        let chain = match ca.upstream_authority_id {
            // Its certificate is a root of the bundle.
            None => Vec::new(),
            Some(_) => std::iter::once(&ca.certificate).chain(&ca.intermediates).cloned().collect(),
        };
        Ok(Self { certificate: ca.certificate.clone(), issuer, chain, anchor_id: anchor_id.into() })
    }
}

/// What JWT-SVIDs are made with.
#[derive(Clone, Copy, Debug)]
pub struct JwtUse {
    algorithm: JwtAlgorithm,
}

impl SigningUse for JwtUse {
    const KIND: SlotKind = SlotKind::Jwt;

    fn read(_entry: &JournalEntry, key: &KeyRecord) -> Result<Self, AuthorityError> {
        // SPIRE signs RS256 whatever the size of the modulus.
        let algorithm = match key.key_type {
            KeyType::EcP256 => JwtAlgorithm::Es256,
            KeyType::EcP384 => JwtAlgorithm::Es384,
            KeyType::Rsa2048 | KeyType::Rsa4096 => JwtAlgorithm::Rs256,
        };
        Ok(Self { algorithm })
    }
}

/// An authority that is acknowledged and whose key is the one in the journal. Nothing else signs SVIDs.
#[derive(Clone, Debug)]
pub struct SigningAuthority<U: SigningUse = X509Use> {
    acknowledged: AcknowledgedAuthority,
    key: MatchedKey,
    usage: U,
    authority_id: Arc<str>,
}

impl<U: SigningUse> SigningAuthority<U> {
    /// Puts both proofs together; they must be about the same slot, and that one of this kind.
    pub fn new(acknowledged: AcknowledgedAuthority, key: MatchedKey) -> Result<Self, AuthorityError> {
        let entry = acknowledged.entry();
        let slot = entry.slot;
        if slot != key.slot() || entry.key_id != key.record().id {
            return Err(AuthorityError::OtherSlot { published: slot, key: key.slot() });
        }
        if slot.kind() != U::KIND {
            return Err(AuthorityError::OtherKind { slot });
        }
        let usage = U::read(entry, key.record())?;
        let authority_id = entry.authority_id().ok_or_else(|| no_identifier(slot))?.into();
        Ok(Self { acknowledged, key, usage, authority_id })
    }

    /// The slot.
    pub fn slot(&self) -> SlotName {
        self.key.slot()
    }

    /// What the journal says about it.
    pub fn entry(&self) -> &Arc<JournalEntry> {
        self.acknowledged.entry()
    }

    /// The key store's identifier of the key.
    pub fn key_id(&self) -> &KeyId {
        &self.key.record().id
    }

    pub(super) fn matched_key(&self) -> &MatchedKey {
        &self.key
    }

    /// How the key signs.
    pub fn scheme(&self) -> SignatureScheme {
        self.key.record().key_type.default_scheme()
    }

    /// SPIRE's authority ID: the subject key identifier in lower-case hex, or the `kid`.
    pub fn authority_id(&self) -> &str {
        &self.authority_id
    }

    /// The same, for everything that it signs.
    pub(crate) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.authority_id)
    }

    /// Unix seconds, inclusive.
    pub fn not_after(&self) -> u64 {
        self.entry().not_after
    }

    /// Whether it may sign at this moment.
    pub fn is_valid(&self, now: UnixTime) -> bool {
        lifetime::is_valid(self.entry(), now)
    }

    /// Whether it is time to prepare the next authority.
    pub fn is_past_half(&self, now: UnixTime) -> bool {
        lifetime::is_past_half(self.entry(), now)
    }

    /// Whether it is time for the next authority to sign.
    pub fn is_near_end(&self, now: UnixTime) -> bool {
        lifetime::is_near_end(self.entry(), now)
    }

    /// Has the key store sign something and verifies the signature: proof that the key is there and is the right one.
    pub async fn probe(&self, keys: &dyn KeyStore) -> Result<(), AuthorityError> {
        self.key.probe(keys).await
    }
}

impl SigningAuthority<X509Use> {
    /// Its own certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.usage.certificate
    }

    /// The algorithm of certificates that it signs.
    pub(crate) fn certificate_algorithm(&self) -> SignatureAlgorithm {
        certificate_algorithm(self.key.record().key_type)
    }

    /// What leaves are made with.
    pub fn issuer(&self) -> &Issuer {
        &self.usage.issuer
    }

    /// What is presented after the leaf: nothing where the CA is self-signed.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.usage.chain
    }

    /// Subject key identifier of the root in the bundle that it hangs from, lower-case hex: its own where it is self-signed.
    pub fn anchor_id(&self) -> &Arc<str> {
        &self.usage.anchor_id
    }
}

impl SigningAuthority<JwtUse> {
    /// `alg` of what it signs.
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.usage.algorithm
    }
}

impl MatchedKey {
    /// Has the key store sign something and verifies the signature.
    pub async fn probe(&self, keys: &dyn KeyStore) -> Result<(), AuthorityError> {
        const PROBE: &[u8] = b"plastron/ca/probe/1";
        let slot = self.slot();
        let record = self.record();
        let (digest, algorithm): (Vec<u8>, &dyn VerificationAlgorithm) = match record.key_type {
            KeyType::EcP256 => (Sha256::digest(PROBE).to_vec(), &signature::ECDSA_P256_SHA256_ASN1),
            KeyType::EcP384 => (Sha384::digest(PROBE).to_vec(), &signature::ECDSA_P384_SHA384_ASN1),
            KeyType::Rsa2048 | KeyType::Rsa4096 => {
                (Sha256::digest(PROBE).to_vec(), &signature::RSA_PKCS1_2048_8192_SHA256)
            }
        };
        let signed = keys
            .sign(&record.id, record.key_type.default_scheme(), &digest)
            .await
            .map_err(|source| AuthorityError::KeyStore { slot, source })?;
        UnparsedPublicKey::new(algorithm, &record.public_key)
            .verify(PROBE, &signed)
            .map_err(|_unspecified| AuthorityError::BadSignature { slot })
    }
}

fn no_identifier(slot: SlotName) -> AuthorityError {
    AuthorityError::Certificate { slot, reason: "no subject key identifier".to_owned() }
}

/// The algorithm of certificates signed by a key of this type.
pub(crate) fn certificate_algorithm(key_type: KeyType) -> SignatureAlgorithm {
    match key_type {
        KeyType::EcP256 => SignatureAlgorithm::EcdsaSha256,
        KeyType::EcP384 => SignatureAlgorithm::EcdsaSha384,
        KeyType::Rsa2048 | KeyType::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
    }
}
