//! What can go wrong with a key store, by what the caller should do about it.

use std::time::Duration;

use crate::{KeyId, KeyType, SignatureScheme};

/// A failed operation of a key store.
///
/// Who asks again is right to do so after `Overloaded`, `CircuitOpen`, `DeadlineExceeded` and `Unavailable`; the other variants say the
/// same until somebody changes something.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The store has no key with this identifier.
    #[error("the key store {store} has no key {id}")]
    NoSuchKey {
        /// The store's name.
        store: String,
        /// The identifier that was looked for.
        id: KeyId,
    },
    /// This store can't make or use keys of this type.
    #[error("the key store {store} does not support {} keys", .key_type.as_str())]
    UnsupportedKeyType {
        /// The store's name.
        store: String,
        /// The type asked for.
        key_type: KeyType,
    },
    /// The scheme does not go with the key's type.
    #[error("a key of type {} can't sign with {scheme:?}", .key_type.as_str())]
    WrongScheme {
        /// The key's type.
        key_type: KeyType,
        /// The scheme asked for.
        scheme: SignatureScheme,
    },
    /// The digest has another length than the scheme's.
    #[error("{scheme:?} signs a digest of {expected} bytes, not of {got}")]
    WrongDigestLength {
        /// The scheme asked for.
        scheme: SignatureScheme,
        /// What it needs, in bytes.
        expected: usize,
        /// What it was given, in bytes.
        got: usize,
    },
    /// A key in the store lacks a property without which it must not be used (extractable, not made in the token, …).
    #[error("the key {id} in {store} must not be used: {reason}")]
    UnsafeKey {
        /// The store's name.
        store: String,
        /// The key.
        id: KeyId,
        /// The attribute and the value that it has.
        reason: String,
    },
    /// The store's public key for an identifier is not the one that it was before.
    #[error("the key {id} in {store} is another key than before")]
    KeyChanged {
        /// The store's name.
        store: String,
        /// The key.
        id: KeyId,
    },
    /// Opening the store failed for a reason that an operator has to mend: module, token, PIN, directory, permissions.
    #[error("can't open the key store {store}: {reason}; {remedy}")]
    Open {
        /// The store's name.
        store: String,
        /// What failed, on which input.
        reason: String,
        /// What to do next.
        remedy: String,
    },
    /// The device answered with an error that may pass.
    #[error("the key store {store} is unavailable: {reason}")]
    Unavailable {
        /// The store's name.
        store: String,
        /// The device's answer.
        reason: String,
    },
    /// The store or its device has no room for one more operation now.
    #[error("the key store {store} is overloaded: {reason}")]
    Overloaded {
        /// The store's name.
        store: String,
        /// What there is no more of: places in the queue, sessions, the device's memory.
        reason: String,
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// The device failed again and again and is left alone for a while: nothing was asked of it.
    #[error("the key store {store} is left alone for {} ms: {reason}", .retry_after.as_millis())]
    CircuitOpen {
        /// The store's name.
        store: String,
        /// The failure that led to it.
        reason: String,
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// The device does not do what it was asked for, and the same call would be refused again.
    #[error("the key store {store} refuses: {reason}")]
    Refused {
        /// The store's name.
        store: String,
        /// The device's answer.
        reason: String,
    },
    /// No answer within the deadline; the operation may still be under way in the device.
    #[error("the key store {store} gave no answer within {seconds} s")]
    DeadlineExceeded {
        /// The store's name.
        store: String,
        /// The deadline.
        seconds: u64,
    },
    /// Stored key material that does not parse.
    #[error("the key store {store} holds malformed data: {reason}")]
    Malformed {
        /// The store's name.
        store: String,
        /// What does not parse, and where.
        reason: String,
    },
}

impl KeyStoreError {
    /// When it is worth to ask again, where the store knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::CircuitOpen { retry_after, .. } => Some(*retry_after),
            Self::NoSuchKey { .. }
            | Self::UnsupportedKeyType { .. }
            | Self::WrongScheme { .. }
            | Self::WrongDigestLength { .. }
            | Self::UnsafeKey { .. }
            | Self::KeyChanged { .. }
            | Self::Open { .. }
            | Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Malformed { .. } => None,
        }
    }
}
