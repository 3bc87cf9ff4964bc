//! A store whose calls about authorities are steps; the others are handed on.

mod federation;

use std::sync::Arc;

use plastron_server_core::store::{
    AdmissionRecord, AdmitError, AuthorityChangeError, AuthoritySet, AuthorityStore, Change, Committed, CutOff,
    Decision, EntryConflict, EntryStore, JoinTokenRecord, JournalEntry, Node, NodeError, NodeStore, NodeSvid,
    PendingError, PendingStore, PendingTpm, PublishError, Published, ServerId, ServerRecord, ServerStore, SlotName,
    Snapshot, Store, StoreError, StoreStatistics, TokenError, TokenHash, TokenStore, WaitRecord,
};
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{Bundle, JwtAuthority, RegistrationEntry, SpiffeId, TrustDomain, X509Authority};

use super::steps::Steps;

pub(crate) struct SteppedStore {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) steps: Arc<Steps>,
}

#[async_trait::async_trait]
impl AuthorityStore for SteppedStore {
    async fn prepare_authority(
        &self,
        trust_domain: TrustDomain,
        entry: JournalEntry,
        upstream_roots: Vec<X509Authority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        let name = format!("publish {}", entry.slot);
        self.steps.take(&name, self.inner.prepare_authority(trust_domain, entry, upstream_roots)).await
    }

    async fn activate_authority(&self, server: ServerId, slot: SlotName) -> Result<Committed<()>, StoreError> {
        self.steps.take(&format!("activate {slot}"), self.inner.activate_authority(server, slot)).await
    }

    async fn append_authorities(
        &self,
        trust_domain: TrustDomain,
        x509: Vec<X509Authority>,
        jwt: Vec<JwtAuthority>,
    ) -> Result<Committed<Arc<Bundle>>, StoreError> {
        self.steps.take("append authorities", self.inner.append_authorities(trust_domain, x509, jwt)).await
    }

    async fn publish_jwt_authority(
        &self,
        trust_domain: TrustDomain,
        published: Published,
    ) -> Result<Committed<Arc<Bundle>>, PublishError> {
        self.steps.take("publish a JWT authority", self.inner.publish_jwt_authority(trust_domain, published)).await
    }

    async fn living_jwt_authorities(&self, publisher: Option<SpiffeId>, now: i64) -> Result<usize, StoreError> {
        self.inner.living_jwt_authorities(publisher, now).await
    }

    async fn drop_authorities(&self, authorities: AuthoritySet) -> Result<Committed<usize>, StoreError> {
        self.steps.take("drop expired authorities", self.inner.drop_authorities(authorities)).await
    }

    async fn taint_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        self.steps.take("taint an authority", self.inner.taint_authorities(authorities)).await
    }

    async fn revoke_authorities(&self, authorities: AuthoritySet) -> Result<Committed<()>, AuthorityChangeError> {
        self.steps.take("revoke an authority", self.inner.revoke_authorities(authorities)).await
    }
}

#[async_trait::async_trait]
impl ServerStore for SteppedStore {
    async fn see_server(&self, record: ServerRecord) -> Result<(), StoreError> {
        self.steps.take("note that the server is there", self.inner.see_server(record)).await
    }

    async fn servers(&self) -> Result<Vec<ServerRecord>, StoreError> {
        self.steps.take("ask which servers there are", self.inner.servers()).await
    }

    async fn remove_server(&self, id: ServerId) -> Result<(), StoreError> {
        self.steps.take("note that the server leaves", self.inner.remove_server(id)).await
    }

    async fn prune_servers(&self, before: i64) -> Result<Committed<usize>, StoreError> {
        self.steps.take("forget servers", self.inner.prune_servers(before)).await
    }
}

#[async_trait::async_trait]
impl Store for SteppedStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.steps.take("load the state", self.inner.load()).await
    }

    async fn changes_after(&self, revision: u64) -> Result<Vec<Change>, StoreError> {
        self.steps.take("follow the change log", self.inner.changes_after(revision)).await
    }

    async fn prune_change_log(&self, before: i64) -> Result<u64, StoreError> {
        self.steps.take("prune the change log", self.inner.prune_change_log(before)).await
    }

    fn statistics(&self) -> StoreStatistics {
        self.inner.statistics()
    }
}

#[async_trait::async_trait]
impl EntryStore for SteppedStore {
    async fn create_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        self.inner.create_entries(entries).await
    }

    async fn update_entries(
        &self,
        entries: Vec<RegistrationEntry>,
    ) -> Result<Committed<Vec<Result<Arc<RegistrationEntry>, EntryConflict>>>, StoreError> {
        self.inner.update_entries(entries).await
    }

    async fn delete_entries(&self, ids: Vec<String>) -> Result<Committed<Vec<Result<(), EntryConflict>>>, StoreError> {
        self.inner.delete_entries(ids).await
    }

    async fn prune_entries(&self, ids: Vec<String>, moment: i64) -> Result<Committed<Vec<String>>, StoreError> {
        self.inner.prune_entries(ids, moment).await
    }
}

#[async_trait::async_trait]
impl NodeStore for SteppedStore {
    async fn admit(&self, record: AdmissionRecord) -> Result<Committed<Arc<Node>>, AdmitError> {
        self.inner.admit(record).await
    }

    async fn renew(&self, id: SpiffeId, old: SerialNumber, new: NodeSvid) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.renew(id, old, new).await
    }

    async fn promote(&self, id: SpiffeId, serial: SerialNumber) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.promote(id, serial).await
    }

    async fn set_agent_version(&self, id: SpiffeId, version: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.set_agent_version(id, version).await
    }

    async fn cut_off(&self, id: SpiffeId, until: CutOff, reason: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.cut_off(id, until, reason).await
    }

    async fn ban(&self, id: SpiffeId) -> Result<Committed<Arc<Node>>, NodeError> {
        self.inner.ban(id).await
    }

    async fn event_log(&self, sha256: [u8; 32], len: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.event_log(sha256, len).await
    }

    async fn evict(&self, id: SpiffeId) -> Result<Committed<()>, NodeError> {
        self.inner.evict(id).await
    }

    async fn prune_nodes(
        &self,
        ids: Vec<SpiffeId>,
        expired_before: u64,
    ) -> Result<Committed<Vec<SpiffeId>>, StoreError> {
        self.inner.prune_nodes(ids, expired_before).await
    }
}

#[async_trait::async_trait]
impl TokenStore for SteppedStore {
    async fn create_join_token(&self, record: JoinTokenRecord) -> Result<Committed<()>, TokenError> {
        self.inner.create_join_token(record).await
    }

    async fn has_join_token(&self, hash: TokenHash, now: i64) -> Result<bool, StoreError> {
        self.inner.has_join_token(hash, now).await
    }

    async fn prune_join_tokens(&self, now: i64) -> Result<Committed<u64>, StoreError> {
        self.inner.prune_join_tokens(now).await
    }
}

#[async_trait::async_trait]
impl PendingStore for SteppedStore {
    async fn wait(&self, record: WaitRecord) -> Result<Committed<PendingTpm>, AdmitError> {
        self.inner.wait(record).await
    }

    async fn pending(&self) -> Result<Vec<PendingTpm>, StoreError> {
        self.inner.pending().await
    }

    async fn decide(&self, id: SpiffeId, decision: Decision) -> Result<Committed<PendingTpm>, PendingError> {
        self.inner.decide(id, decision).await
    }
}
