//! Nodes that expired long ago are forgotten, where the operator wants that: SPIRE's `prune_attested_nodes_expired_for`.

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::SpiffeId;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::ACTOR;
use crate::Services;
use crate::audit::{self, chain};
use crate::clock::unix_seconds;
use crate::ledger::Write;
use crate::meters;
use crate::store::{Node, StoreError};

/// SPIRE's period, without its jitter: a node that two servers prune at once is pruned once.
const PERIOD: Duration = Duration::from_secs(3600);

/// Which nodes are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePruning {
    /// How long ago all SVIDs of a node expired.
    pub expired_for: Duration,
    /// How many at once; the rest waits for the next hour.
    pub batch: usize,
    /// Also nodes that can't attest again, such as those that joined with a token.
    pub not_reattestable: bool,
}

impl NodePruning {
    /// SPIRE's `prune_attested_nodes_batch_size`.
    pub const DEFAULT_BATCH: usize = 1000;

    fn takes(&self, node: &Node, expired_before: u64) -> bool {
        node.is_forgettable(expired_before) && (node.can_reattest || self.not_reattestable)
    }
}

impl Services {
    /// Forgets, once an hour, the nodes that the rule names. Ends when cancelled.
    pub async fn keep_pruning_nodes(self: Arc<Self>, rule: NodePruning, cancelled: CancellationToken) {
        let (expired_for, include_tofu) = (rule.expired_for.as_secs(), rule.not_reattestable);
        tracing::info!(expired_for, include_tofu, "Periodic prune of expired nodes started");
        let mut period = interval_at(Instant::now() + PERIOD, PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = period.tick() => {}
            }
            match self.prune_nodes(&rule).await {
                Ok(count) => tracing::info!(count, "Pruned expired agents"),
                Err(error) => {
                    tracing::error!(error = chain(&error), "Failed during periodic pruning of expired nodes");
                }
            }
        }
    }

    /// Forgets the nodes that the rule names; returns how many. Banned and quarantined ones stay, or they could attest again; one that
    /// attests meanwhile stays too.
    pub async fn prune_nodes(&self, rule: &NodePruning) -> Result<usize, StoreError> {
        let call = meters::NODE_PRUNE.start();
        call.ended(self.forget_nodes(rule).await)
    }

    async fn forget_nodes(&self, rule: &NodePruning) -> Result<usize, StoreError> {
        let now = u64::try_from(unix_seconds(self.clock.now())).unwrap_or(0);
        let before = now.saturating_sub(rule.expired_for.as_secs());
        let nodes = self.ledger.state().nodes_after(None, rule.batch, |node| rule.takes(node, before));
        let ids: Vec<SpiffeId> = nodes.iter().map(|node| node.id.clone()).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let pruned: Vec<SpiffeId> = self
            .ledger
            .write(Write::PruneNodes, move |store| async move { store.prune_nodes(ids, before).await })
            .await?;
        for id in &pruned {
            audit::change(ACTOR, "agent prune", id.as_str(), "ok");
        }
        Ok(pruned.len())
    }
}
