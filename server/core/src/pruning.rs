//! What is removed by time alone: entries and join tokens that have expired, journals of servers that are gone, and old rows of the
//! change log.

mod nodes;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit;
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::limits::{MAX_ENTRIES_PER_CALL, SERVER_FORGOTTEN};
use crate::meters;
use crate::store::{ServerId, StoreError};
pub use nodes::NodePruning;

/// Seconds for which the change log is kept. Who follows it is seconds behind; who was away for longer reads everything anew.
const CHANGE_LOG_KEPT: i64 = 24 * 3600;
/// Seconds for which an expired entry is kept: what a clock that jumped ahead saw as expired is still there when it is set right.
const EXPIRED_ENTRY_KEPT: i64 = 3600;
/// Who the audit log says removed them.
const ACTOR: &str = "server: pruning";

/// Removes what has expired. An expired entry gives nothing even before it is removed.
pub(crate) async fn prune(ledger: &Arc<Ledger>, clock: &dyn Clock, seen: &SeenServers) -> Result<(), StoreError> {
    let call = meters::ENTRY_PRUNE.start();
    call.ended(prune_all(ledger, clock, seen).await)
}

async fn prune_all(ledger: &Arc<Ledger>, clock: &dyn Clock, seen: &SeenServers) -> Result<(), StoreError> {
    let now = unix_seconds(clock.now());
    let moment = now.saturating_sub(EXPIRED_ENTRY_KEPT);
    let expired = |entry: &plastron_spiffe::RegistrationEntry| entry.expires_at != 0 && entry.expires_at <= moment;
    let ids: Vec<String> = ledger
        .state()
        .entries_after(None, MAX_ENTRIES_PER_CALL, expired)
        .iter()
        .map(|entry| entry.id.clone())
        .collect();
    if !ids.is_empty() {
        let pruned: Vec<String> = ledger
            .write(Write::PruneEntries, move |store| async move { store.prune_entries(ids, moment).await })
            .await?;
        for id in &pruned {
            audit::change(ACTOR, "entry prune", id, "ok");
        }
    }
    let tokens: u64 =
        ledger.write(Write::PruneJoinTokens, move |store| async move { store.prune_join_tokens(now).await }).await?;
    if tokens > 0 {
        audit::change(ACTOR, "join token prune", &format!("{tokens} tokens"), "ok");
    }
    forget_servers(ledger, seen, now.saturating_sub(SERVER_FORGOTTEN)).await?;
    let rows = ledger.store().prune_change_log(now.saturating_sub(CHANGE_LOG_KEPT)).await?;
    if rows > 0 {
        tracing::debug!(rows, "Pruned the change log");
    }
    Ok(())
}

/// What the servers on the store had noted when this was last looked at.
#[derive(Default)]
pub(crate) struct SeenServers(Mutex<Option<HashSet<(ServerId, i64, u64)>>>);

/// Removes the servers that were last seen before `gone`, with their journals. Not where one of those noted something since the last look:
/// then it is there, and it is this server's clock that is ahead. So nothing is removed at the first look.
async fn forget_servers(ledger: &Arc<Ledger>, seen: &SeenServers, gone: i64) -> Result<(), StoreError> {
    let servers = ledger.store().servers().await?;
    let present: HashSet<_> = servers.iter().map(|it| (it.id, it.seen_at, it.revision)).collect();
    let last = seen.0.lock().unwrap_or_else(PoisonError::into_inner).replace(present.clone());
    let Some(last) = last else { return Ok(()) };
    if present.iter().any(|noted @ (_id, seen_at, _revision)| *seen_at < gone && !last.contains(noted)) {
        tracing::warn!("The clock of this server is ahead of another's by days: no server is forgotten");
        return Ok(());
    }
    let slots: usize =
        ledger.write(Write::PruneServers, move |store| async move { store.prune_servers(gone).await }).await?;
    if slots > 0 {
        audit::change(ACTOR, "ca journal prune", &format!("{slots} slots of servers that are gone"), "ok");
    }
    Ok(())
}
