//! What every `KeyStore` must pass. Tests only: the suite fails by panicking.
//!
//! Signatures are verified by aws-lc-rs from the public key that the store reported, so a store can't agree with itself.

#![expect(clippy::unwrap_used, reason = "a test suite fails by panicking")]

mod verify;

use std::collections::HashSet;
use std::sync::Arc;

use plastron_hsm::{KeyId, KeyInventory, KeyRecord, KeyStoreError, KeyType, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};

pub use verify::verify;

/// How a store under test is opened.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    /// The key types that the store has to support.
    fn key_types(&self) -> &[KeyType];

    /// The key types that its device does not have, and that it has to refuse by name.
    fn refused_key_types(&self) -> &[KeyType];

    /// Opens the store for an instance (a server): twice with the same name is the same instance after a restart.
    async fn open(&self, instance: &str) -> Arc<dyn KeyInventory>;

    /// True if keys outlive the store's handle.
    fn is_durable(&self) -> bool;
}

/// Runs the whole suite.
pub async fn run(fixture: &dyn Fixture) {
    for &key_type in fixture.key_types() {
        signs(fixture, key_type).await;
    }
    refuses_what_its_device_does_not_have(fixture).await;
    knows_what_it_has(fixture).await;
    refuses_what_does_not_fit(fixture).await;
    serves_many_at_once(fixture).await;
    keeps_its_keys(fixture).await;
    keeps_instances_apart(fixture).await;
    destroys(fixture).await;
}

const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::EcdsaSha256,
    SignatureScheme::EcdsaSha384,
    SignatureScheme::RsaPkcs1Sha256,
    SignatureScheme::RsaPkcs1Sha512,
];

/// The digest of a message under a scheme.
pub fn digest(scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
    match scheme {
        SignatureScheme::EcdsaSha256 | SignatureScheme::RsaPkcs1Sha256 => Sha256::digest(message).to_vec(),
        SignatureScheme::EcdsaSha384 => Sha384::digest(message).to_vec(),
        SignatureScheme::RsaPkcs1Sha512 => Sha512::digest(message).to_vec(),
    }
}

/// A key of this type is generated as asked and signs with every scheme that goes with it.
async fn signs(fixture: &dyn Fixture, key_type: KeyType) {
    let store = fixture.open("signs").await;
    let key = store.generate("x509-CA-A", key_type).await.unwrap();
    assert_eq!((key.label.as_str(), key.key_type), ("x509-CA-A", key_type));
    let mut signed = 0;
    for scheme in SCHEMES {
        let message = format!("{key_type:?} {scheme:?}");
        let digest = digest(scheme, message.as_bytes());
        if key_type.check(scheme, &digest).is_err() {
            continue;
        }
        // Many signatures, so that r and s of every length occur (ECDSA integers lose leading zeros in DER).
        for _ in 0..if key_type == KeyType::EcP256 { 600 } else { 3 } {
            let signature = store.sign(&key.id, scheme, &digest).await.unwrap();
            verify(&key, scheme, message.as_bytes(), &signature).unwrap();
            assert!(verify(&key, scheme, b"another message", &signature).is_err());
        }
        signed += 1;
    }
    assert!(signed > 0, "no scheme for {key_type:?}");
}

/// A key type that the device does not have is refused by name, and nothing is left of the attempt.
async fn refuses_what_its_device_does_not_have(fixture: &dyn Fixture) {
    let store = fixture.open("has-not").await;
    for &key_type in fixture.refused_key_types() {
        let error = store.generate("x509-CA-A", key_type).await.unwrap_err();
        assert!(
            matches!(error, KeyStoreError::UnsupportedKeyType { key_type: refused, .. } if refused == key_type),
            "{error}"
        );
        assert!(error.to_string().contains(key_type.as_str()), "{error}");
    }
    assert_eq!(store.list().await.unwrap(), []);
}

/// `find` answers with what `generate` returned, and with nothing for an identifier that nobody gave; identifiers are unique
/// even under one label.
async fn knows_what_it_has(fixture: &dyn Fixture) {
    let store = fixture.open("knows").await;
    let one = store.generate("JWT-Signer-A", KeyType::EcP256).await.unwrap();
    let two = store.generate("JWT-Signer-A", KeyType::EcP256).await.unwrap();
    assert_ne!(one.id, two.id);
    assert_ne!(one.public_key, two.public_key);
    assert_eq!(store.find(&one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.find(&two.id).await.unwrap(), Some(two));
    for unknown in [KeyId::new([7; 16]), KeyId::new([]), KeyId::new([0; 300])] {
        assert_eq!(store.find(&unknown).await.unwrap(), None);
        let error = store.sign(&unknown, SignatureScheme::EcdsaSha256, &[1; 32]).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::NoSuchKey { id, .. } if id == unknown));
    }
    // By this host's clock, which both look at; a store may round, and a file system may.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let made_at = store.made_at(&one.id).await.unwrap();
    assert!(made_at.is_none_or(|made_at| (now - 600..=now + 1).contains(&made_at)), "{made_at:?} at {now}");
    assert_eq!(made_at.is_some(), fixture.is_durable(), "what outlives a process says since when it is there");
    let unknown = KeyId::new([7; 16]);
    assert!(matches!(store.made_at(&unknown).await, Err(KeyStoreError::NoSuchKey { id, .. }) if id == unknown));
    assert!(!store.identity().kind.is_empty() && !store.identity().name.is_empty());
}

/// A digest of another length and a scheme of another key type are refused by name, before the device is asked.
async fn refuses_what_does_not_fit(fixture: &dyn Fixture) {
    let store = fixture.open("refuses").await;
    for &key_type in fixture.key_types().iter().filter(|key_type| **key_type != KeyType::Rsa4096) {
        let key = store.generate("x509-CA-B", key_type).await.unwrap();
        let scheme = key_type.default_scheme();
        for length in [0, 20, 31, 33, 47, 64, 4096] {
            let error = store.sign(&key.id, scheme, &vec![1; length]).await.unwrap_err();
            assert!(matches!(error, KeyStoreError::WrongDigestLength { got, .. } if got == length), "{error}");
        }
        for other in SCHEMES {
            let digest = vec![1; other.digest_len()];
            if key_type.check(other, &digest).is_err() {
                let error = store.sign(&key.id, other, &digest).await.unwrap_err();
                assert!(matches!(error, KeyStoreError::WrongScheme { scheme, .. } if scheme == other), "{error}");
            }
        }
    }
}

/// Concurrent callers get their own signatures, also while keys are made.
async fn serves_many_at_once(fixture: &dyn Fixture) {
    let store = fixture.open("many").await;
    let mut keys = Vec::new();
    for label in ["x509-CA-A", "JWT-Signer-A"] {
        keys.push(store.generate(label, KeyType::EcP256).await.unwrap());
    }
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64_usize {
        let (store, key) = (Arc::clone(&store), keys[caller % 2].clone());
        callers.spawn(async move {
            for turn in 0..8 {
                let message = format!("caller {caller}, turn {turn}");
                let digest = digest(SignatureScheme::EcdsaSha256, message.as_bytes());
                let signature = store.sign(&key.id, SignatureScheme::EcdsaSha256, &digest).await.unwrap();
                verify(&key, SignatureScheme::EcdsaSha256, message.as_bytes(), &signature).unwrap();
            }
        });
    }
    store.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
    let outcomes = callers.join_all().await;
    assert_eq!(outcomes.len(), 64);
}

/// What a durable store holds is there, and signs, after it was closed and opened again.
async fn keeps_its_keys(fixture: &dyn Fixture) {
    if !fixture.is_durable() {
        return;
    }
    let store = fixture.open("keeps").await;
    let mut made = Vec::new();
    for &key_type in fixture.key_types() {
        made.push(store.generate("x509-CA-A", key_type).await.unwrap());
    }
    drop(store);
    let store = fixture.open("keeps").await;
    for key in &made {
        assert_eq!(store.find(&key.id).await.unwrap().as_ref(), Some(key));
        let scheme = key.key_type.default_scheme();
        let signature = store.sign(&key.id, scheme, &digest(scheme, b"again")).await.unwrap();
        verify(key, scheme, b"again", &signature).unwrap();
    }
    assert_eq!(ids(&store.list().await.unwrap()), ids(&made));
}

/// Two instances, on one device where the store has devices, list their own keys only.
async fn keeps_instances_apart(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open("apart-1").await, fixture.open("apart-2").await);
    let key_of_one = one.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    let key_of_two = two.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    assert_eq!(one.list().await.unwrap(), vec![key_of_one]);
    assert_eq!(two.list().await.unwrap(), vec![key_of_two]);
}

/// A destroyed key is gone from `find`, `list` and `sign`, and the others stay; to destroy it again is an error.
async fn destroys(fixture: &dyn Fixture) {
    let store = fixture.open("destroys").await;
    let goes = store.generate("x509-CA-A", KeyType::EcP256).await.unwrap();
    let stays = store.generate("x509-CA-B", KeyType::EcP256).await.unwrap();
    let digest = digest(SignatureScheme::EcdsaSha256, b"message");
    store.sign(&goes.id, SignatureScheme::EcdsaSha256, &digest).await.unwrap();
    store.destroy(&goes.id).await.unwrap();
    assert_eq!(store.find(&goes.id).await.unwrap(), None);
    assert_eq!(store.list().await.unwrap(), vec![stays.clone()]);
    let error = store.sign(&goes.id, SignatureScheme::EcdsaSha256, &digest).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::NoSuchKey { .. }), "{error}");
    assert!(matches!(store.destroy(&goes.id).await, Err(KeyStoreError::NoSuchKey { .. })));
    let signature = store.sign(&stays.id, SignatureScheme::EcdsaSha256, &digest).await.unwrap();
    verify(&stays, SignatureScheme::EcdsaSha256, b"message", &signature).unwrap();
}

fn ids(keys: &[KeyRecord]) -> HashSet<KeyId> {
    keys.iter().map(|key| key.id.clone()).collect()
}
