//! The CA journals, the bundle and the servers in the store.

use std::sync::Arc;

use plastron_spiffe::{Bundle, JwtAuthority, SpiffeId, TrustDomain, X509Authority};

use super::{Committed, JournalEntry, ServerId, SlotName, StoreError};

/// Authorities of the bundle, named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthoritySet {
    /// Certificates, DER.
    pub x509: Vec<Vec<u8>>,
    /// Key identifiers (`kid`).
    pub jwt: Vec<String>,
}

impl AuthoritySet {
    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.x509.is_empty() && self.jwt.is_empty()
    }
}

/// A downstream server's JWT authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The key.
    pub authority: JwtAuthority,
    /// Whose it is.
    pub publisher: SpiffeId,
    /// How many authorities in the bundle may be his.
    pub share: usize,
    /// Unix seconds.
    pub now: i64,
}

/// Why a downstream server's JWT authority is not in the bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It has so many already that have not ended.
    #[error("{got} JWT authorities of this downstream server are in the bundle, of at most {share}")]
    ShareUsed {
        /// How many there are.
        got: usize,
        /// The limit.
        share: usize,
    },
    /// The store failed.
    #[error("the bundle can't be stored")]
    Store(#[from] StoreError),
}

/// Keeps the CA journals and the bundle of the servers' trust domain.
#[async_trait::async_trait]
pub trait AuthorityStore: Send + Sync {
    /// In one transaction: the slot is `Prepared` with this entry, and the bundle has what makes it trusted: its own certificate or
    /// key, and these upstream roots. The same call again changes nothing.
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
        upstream_roots: Vec<X509Authority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError>;

    /// In one transaction: this server's slot becomes `Active`, and its other one of the kind, if it was active, `Old`.
    async fn activate_authority(&self, server: ServerId, slot: SlotName) -> Result<Committed<()>, StoreError>;

    /// Adds authorities that the bundle does not have yet. A JWT key that it has gets the later of its two ends; another key with a
    /// key ID that it has is left out.
    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError>;

    /// In one transaction: the bundle gets a downstream server's JWT authority, unless it has one of this name. Where the publisher's share
    /// is used up, those of its authorities that have ended give way; where there is none, nothing changes.
    async fn publish_jwt_authority(
        &self,
        trust_domain: TrustDomain,
        published: Published,
    ) -> Result<Committed<Arc<Bundle>>, PublishError>;

    /// How many JWT authorities of this downstream server, or of all of them, are in the bundle and end at `now` (Unix seconds) or later.
    async fn living_jwt_authorities(&self, publisher: Option<SpiffeId>, now: i64) -> Result<usize, StoreError>;

    /// In one transaction: the bundle loses those of these authorities that no slot of any server has, and its sequence number
    /// rises. Says how many; of X.509 authorities the bundle keeps one in any case.
    async fn drop_authorities(&self, authorities: AuthoritySet) -> Result<Committed<usize>, StoreError>;

    /// In one transaction: these authorities are tainted in the bundle, and its sequence number rises.
    async fn taint_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError>;

    /// In one transaction: these authorities, tainted before, leave the bundle whatever slot has them, and its sequence number rises.
    async fn revoke_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError>;
}

/// Why an authority is neither tainted nor revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityChangeError {
    /// The bundle has no such authority.
    #[error("the bundle has no such authority")]
    NotFound,
    /// Nothing would change.
    #[error("the authority is already tainted")]
    AlreadyTainted,
    /// Agents must have replaced what it signed before it goes.
    #[error("it is not possible to revoke an authority that is not tainted")]
    NotTainted,
    /// The store failed.
    #[error("the bundle can't be stored")]
    Store(#[from] StoreError),
}

/// A server on this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRecord {
    /// Which.
    pub id: ServerId,
    /// When it was last there, Unix seconds by its own clock.
    pub seen_at: i64,
    /// Up to which change it had followed the log then: what it serves is at least this new.
    pub revision: u64,
}

/// Keeps which servers there are, for those who wait until all of them serve something. No change of state: no row in the log.
#[async_trait::async_trait]
pub trait ServerStore: Send + Sync {
    /// Notes that a server is there.
    async fn see_server(&self, record: ServerRecord) -> Result<(), StoreError>;

    /// All that were seen and have not left.
    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError>;

    /// A server leaves; its journal stays.
    async fn remove_server(&self, id: ServerId) -> Result<(), StoreError>;

    /// In one transaction: servers that were last seen before this moment (Unix seconds), and journals of servers that are not among
    /// those seen since, go where every authority of the journal ended before this moment too. Says how many slots went.
    async fn prune_servers(&self, before: i64) -> Result<Committed<usize>, StoreError>;
}
