//! Nodes: what operators see of them and do to them, and what an agent says about itself.

use std::sync::Arc;

use plastron_spiffe::{Selector, SpiffeId};

use crate::audit;
use crate::authorization::{Permit, rpc};
use crate::ledger::{Ledger, Write};
use crate::limits::MAX_AGENT_VERSION_LEN;
use crate::page::{Page, PageRequest, PageTokenError};
use crate::registration::MatchBehavior;
use crate::store::{Node, NodeError};

/// Which nodes are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Admitted by this attestor.
    pub attestation_type: Option<String>,
    /// Selectors, compared in this way. Sorted.
    pub selectors: Option<(Vec<Selector>, MatchBehavior)>,
    /// Banned or not.
    pub banned: Option<bool>,
    /// Renewing by attestation or not.
    pub can_reattest: Option<bool>,
    /// Expiring before this moment, Unix seconds.
    pub expires_before: Option<u64>,
}

impl NodeFilter {
    fn wants(&self, node: &Node) -> bool {
        let Self { attestation_type, selectors, banned, can_reattest, expires_before } = self;
        attestation_type.as_ref().is_none_or(|wanted| *wanted == node.attestation_type)
            && banned.is_none_or(|wanted| wanted == node.is_banned())
            && can_reattest.is_none_or(|wanted| wanted == node.can_reattest)
            && expires_before.is_none_or(|moment| node.expires_at() < moment)
            && selectors.as_ref().is_none_or(|(wanted, behavior)| behavior.matches(wanted, &node.selectors))
    }
}

/// Lists, bans and evicts nodes.
pub struct Nodes {
    ledger: Arc<Ledger>,
}

impl Nodes {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }

    /// The nodes that the filter wants, by SPIFFE ID.
    pub fn list(
        &self,
        _permit: Permit<rpc::ListAgents>,
        filter: &NodeFilter,
        page: &PageRequest,
    ) -> Result<Page<Arc<Node>>, PageTokenError> {
        let after = page.after()?.map(|text| SpiffeId::parse(&text)).transpose();
        let after = after.map_err(|_not_an_id| PageTokenError::of(&page.token))?;
        let limit = page.limit();
        let nodes = self.ledger.state().nodes_after(after.as_ref(), limit.saturating_add(1), |node| filter.wants(node));
        Ok(Page::gather(nodes.into_iter(), limit, |node| node.id.as_str()))
    }

    /// How many nodes the filter wants.
    pub fn count(&self, _permit: Permit<rpc::CountAgents>, filter: &NodeFilter) -> usize {
        self.ledger.state().count_nodes(|node| filter.wants(node))
    }

    /// One node.
    pub fn get(&self, _permit: Permit<rpc::GetAgent>, id: &SpiffeId) -> Result<Arc<Node>, NodeError> {
        self.ledger.state().node(id).ok_or_else(|| NodeError::NotFound { id: id.clone() })
    }

    /// Bans a node: from the next call on none of its SVIDs is good, and it is not admitted again before it is evicted.
    pub async fn ban(&self, permit: Permit<rpc::BanAgent>, id: SpiffeId) -> Result<Arc<Node>, NodeError> {
        let banned = id.clone();
        let result: Result<Arc<Node>, NodeError> =
            self.ledger.write(Write::BanNode, move |store| async move { store.ban(banned).await }).await;
        let outcome = audit::outcome(&result);
        audit::change(permit.identity(), "agent ban", id.as_str(), &outcome);
        if result.is_ok() {
            tracing::info!(spiffe_id = %id, "Agent banned");
        }
        result
    }

    /// Evicts a node: it is forgotten, ban and all, and may attest again.
    pub async fn evict(&self, permit: Permit<rpc::DeleteAgent>, id: SpiffeId) -> Result<(), NodeError> {
        let evicted = id.clone();
        let result: Result<(), NodeError> =
            self.ledger.write(Write::EvictNode, move |store| async move { store.evict(evicted).await }).await;
        let outcome = audit::outcome(&result);
        audit::change(permit.identity(), "agent evict", id.as_str(), &outcome);
        if result.is_ok() {
            tracing::info!(spiffe_id = %id, "Agent deleted");
        }
        result
    }

    /// Records the version that the agent says it has, cut to a reasonable length. Nothing is written where it is known.
    pub async fn post_status(&self, permit: Permit<rpc::PostStatus>, version: &str) -> Result<(), NodeError> {
        let version: String = version.chars().filter(|c| !c.is_control()).take(MAX_AGENT_VERSION_LEN).collect();
        let id = permit.caller().id().clone();
        if self.ledger.state().node(&id).is_some_and(|node| node.agent_version == version) {
            return Ok(());
        }
        self.ledger
            .write(Write::RecordVersion, move |store| async move { store.set_agent_version(id, version).await })
            .await
            .map(|_node: Arc<Node>| ())
    }
}
