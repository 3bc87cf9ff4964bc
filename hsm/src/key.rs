//! Keys as a store describes them.

use std::fmt;

use crate::KeyStoreError;

/// The identifier that a store gave to a key pair: CKA_ID in a token. Random, never reused, opaque to callers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Vec<u8>);

impl KeyId {
    /// Wraps identifier bytes that a store or a journal holds.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// From hexadecimal digits, as it is displayed. An identifier has at least one byte.
    pub fn from_hex(digits: &str) -> Option<Self> {
        hex::decode(digits).ok().filter(|bytes| !bytes.is_empty()).map(Self)
    }

    /// The identifier's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The key types that CA and JWT keys can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// The scheme that X.509 certificates signed by this key use.
    pub fn default_scheme(self) -> SignatureScheme {
        match self {
            Self::EcP256 => SignatureScheme::EcdsaSha256,
            Self::EcP384 => SignatureScheme::EcdsaSha384,
            Self::Rsa2048 | Self::Rsa4096 => SignatureScheme::RsaPkcs1Sha256,
        }
    }

    /// Every store asks this before it signs: the scheme goes with the key, and the digest has the scheme's length.
    pub fn check(self, scheme: SignatureScheme, digest: &[u8]) -> Result<(), KeyStoreError> {
        let fits = match scheme {
            SignatureScheme::EcdsaSha256 => self == Self::EcP256,
            SignatureScheme::EcdsaSha384 => self == Self::EcP384,
            SignatureScheme::RsaPkcs1Sha256 | SignatureScheme::RsaPkcs1Sha512 => {
                matches!(self, Self::Rsa2048 | Self::Rsa4096)
            }
        };
        if !fits {
            return Err(KeyStoreError::WrongScheme { key_type: self, scheme });
        }
        let (expected, got) = (scheme.digest_len(), digest.len());
        if got != expected {
            return Err(KeyStoreError::WrongDigestLength { scheme, expected, got });
        }
        Ok(())
    }

    /// The key type of a name in a configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::EcP256, Self::EcP384, Self::Rsa2048, Self::Rsa4096]
            .into_iter()
            .find(|key_type| key_type.as_str() == name)
    }

    /// The name in SPIRE's configuration (`ca_key_type`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

/// How a digest is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// ECDSA over a SHA-256 digest (P-256).
    EcdsaSha256,
    /// ECDSA over a SHA-384 digest (P-384).
    EcdsaSha384,
    /// RSASSA-PKCS1-v1_5 over a SHA-256 digest.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 over a SHA-512 digest.
    RsaPkcs1Sha512,
}

impl SignatureScheme {
    /// Length of the digest that `KeyStore::sign` takes, in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::EcdsaSha256 | Self::RsaPkcs1Sha256 => 32,
            Self::EcdsaSha384 => 48,
            Self::RsaPkcs1Sha512 => 64,
        }
    }
}

/// A key pair in a store, as much of it as may leave the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The store's identifier of the pair.
    pub id: KeyId,
    /// What people call it; a SPIRE slot name such as `x509-CA-A` for CA keys.
    pub label: String,
    /// Its type.
    pub key_type: KeyType,
    /// SubjectPublicKeyInfo, DER (RFC 5280, section 4.1).
    pub public_key: Vec<u8>,
}

/// Where keys live, for the audit log and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// `memory`, `disk`, `pkcs11` or `tpm`.
    pub kind: &'static str,
    /// The token's or directory's own name.
    pub name: String,
    /// Manufacturer, model, serial and firmware of the device, where there is one: (name, value) pairs in a fixed order.
    pub details: Vec<(&'static str, String)>,
    /// True only where the store asserted that private keys can't leave it.
    pub non_extractable: bool,
}
