//! Which nodes the server forgets by itself.

use std::time::Duration;

use plastron_hcl1::{ConfigError, Located};
use plastron_server_core::pruning::NodePruning;

use super::raw::RawServer;

/// SPIRE's keys; without `prune_attested_nodes_expired_for` nothing is forgotten.
pub(super) fn node_pruning(server: &RawServer) -> Result<Option<NodePruning>, ConfigError> {
    // Read for its form alone: whether an agent may call is always decided by what the store has.
    server.max_attested_node_info_staleness.as_ref().map(duration).transpose()?;
    let Some(expired_for) = &server.prune_attested_nodes_expired_for else { return Ok(None) };
    let batch = server.prune_attested_nodes_batch_size.as_ref();
    let batch = batch.and_then(|size| usize::try_from(size.value).ok()).filter(|size| *size > 0);
    Ok(Some(NodePruning {
        expired_for: duration(expired_for)?,
        batch: batch.unwrap_or(NodePruning::DEFAULT_BATCH),
        not_reattestable: server.prune_tofu_nodes.as_ref().is_some_and(|switch| switch.value),
    }))
}

fn duration(text: &Located<String>) -> Result<Duration, ConfigError> {
    plastron_server_cli::go_duration_or_zero(&text.value).map_err(|problem| text.refuse(problem))
}
