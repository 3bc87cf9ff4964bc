//! The `KeyStore` seam: signing keys that someone else keeps.
//!
//! A CA key lives in a PKCS#11 token, in a TPM, or in software; whoever signs with it sees only this trait.
//! A store never hands out private key material, and a key is known by the identifier that the store gave it.
//! What this crate deliberately does not do: it does not choose a back end (programs do), and it knows no X.509 and no JWT.

mod device;
mod error;
mod key;

pub use device::{Circuit, DeviceCondition, Operation, OperationLatency};
pub use error::KeyStoreError;
pub use key::{KeyId, KeyRecord, KeyType, SignatureScheme, StoreIdentity};

/// A place that keeps signing keys. Implementations: `hsm/soft`, `hsm/pkcs11`, `hsm/tpm`; all pass `hsm/conformance`.
#[async_trait::async_trait]
pub trait KeyStore: Send + Sync {
    /// What the audit log records about where the keys live. No I/O: the store learnt it when it was opened.
    fn identity(&self) -> &StoreIdentity;

    /// Makes a new key pair that signs and nothing else. `label` is for people; it need not be unique and is never looked up.
    async fn generate(&self, label: &str, key_type: KeyType) -> Result<KeyRecord, KeyStoreError>;

    /// The key with this identifier, or `None` if the store has none. The public key is read from the store, not from a cache.
    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, KeyStoreError>;

    /// Signs a digest that is exactly as long as `scheme.digest_len()`.
    ///
    /// ECDSA signatures come back as the DER SEQUENCE of RFC 3279, section 2.2.3; RSA signatures as the bare octets.
    async fn sign(&self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, KeyStoreError>;
}

/// The second, optional ability of a store: to say what it holds and to forget a key (`hsm gc`).
#[async_trait::async_trait]
pub trait KeyInventory: KeyStore {
    /// Every key that this instance made, in no order.
    async fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError>;

    /// When the key was made, Unix seconds by this host's clock at that time; `None` where nothing tells. For people, and for the
    /// patience of `hsm gc`: it proves nothing.
    async fn made_at(&self, id: &KeyId) -> Result<Option<u64>, KeyStoreError>;

    /// Destroys a key for good.
    async fn destroy(&self, id: &KeyId) -> Result<(), KeyStoreError>;
}

/// The third, optional ability of a store: to say how its device does. Nothing here asks the device, so nothing here can hang.
pub trait KeyDevice: Send + Sync {
    /// How it does now.
    fn condition(&self) -> DeviceCondition;

    /// How long the device took, by operation, since the store was opened.
    fn latencies(&self) -> Vec<OperationLatency>;
}
