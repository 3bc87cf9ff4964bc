//! Join tokens in the store: only their hashes.

use std::fmt;

use plastron_spiffe::SpiffeId;
use sha2::{Digest, Sha256};

use super::{Committed, StoreError};

/// SHA-256 of a join token. The token itself is nowhere in the store before a node has spent it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// A join token to be kept.
#[derive(Clone, Debug)]
pub struct JoinTokenRecord {
    /// Its hash.
    pub hash: TokenHash,
    /// Unix seconds from which on it is no longer good.
    pub expires_at: i64,
    /// The SPIFFE ID that the node gets besides its own, by an entry that is written when the token is spent.
    pub alias: Option<SpiffeId>,
}

/// Keeps join tokens. Spending one is part of `NodeStore::admit`.
#[async_trait::async_trait]
pub trait TokenStore: Send + Sync {
    /// Keeps a new token.
    async fn create_join_token(&self, record: JoinTokenRecord) -> Result<Committed<()>, TokenError>;

    /// Whether a token could be spent now. Only `admit` decides; this spares a signature where the answer is no.
    async fn has_join_token(&self, hash: TokenHash, now: i64) -> Result<bool, StoreError>;

    /// Deletes the tokens that have expired, and says how many.
    async fn prune_join_tokens(&self, now: i64) -> Result<Committed<u64>, StoreError>;
}

/// Why a token is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is such a token already.
    #[error("join token already exists")]
    Exists,
    /// The store failed.
    #[error("the join token can't be stored")]
    Store(#[from] StoreError),
}
