//! Proof that an authority is known wherever something signed by it may turn up.
//!
//! In the bundle is not enough: another server may still hand out the bundle of a moment ago, and an agent's workloads may still have it. So
//! it is waited for until every server on this store has followed the log past the publication, and until the workloads of every agent that
//! is connected to this one have that bundle. Neither wait is without end: whoever is dead or cut off must not keep a trust domain from
//! signing. A server that does not follow in time is named in the audit log and taken off the list; it is on it again with its next
//! heartbeat. No clock of another machine is compared with ours for that. Agents that only poll are not waited for: nobody knows what
//! they have.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::{AuthorityError, PublishedAuthority};
use crate::audit;
use crate::ledger::Ledger;
use crate::limits::{AGENTS_TAKE, LOOK_FOR_SERVERS, SERVERS_TAKE};
use crate::store::{JournalEntry, ServerId, SlotName, SlotStatus, StoreError};
use crate::watch::{Acknowledged, Watchers};

/// What others must have to know of an authority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publicity {
    /// The change that brought it, or a later one.
    pub(crate) revision: u64,
    /// Sequence number of a bundle that has it.
    pub(crate) sequence: u64,
}

/// Who has to know of an authority before it signs.
#[derive(Clone, Copy)]
pub(crate) struct Listeners<'a> {
    pub(crate) this_server: ServerId,
    pub(crate) ledger: &'a Arc<Ledger>,
    pub(crate) watchers: &'a Watchers,
}

impl Listeners<'_> {
    /// Other servers that serve something older.
    async fn late(&self, revision: u64) -> Result<Vec<ServerId>, StoreError> {
        let servers = self.ledger.store().servers().await?.into_iter();
        let late = servers.filter(|record| record.id != self.this_server && record.revision < revision);
        Ok(late.map(|record| record.id).collect())
    }

    /// Says that a server did not follow, and takes it off the list.
    async fn give_up(&self, slot: SlotName, server: ServerId) -> Result<(), StoreError> {
        let subject = format!("slot {slot} by server {server}");
        let outcome = format!("not within {} s: it is gone or cut off", SERVERS_TAKE.as_secs());
        tracing::warn!(%slot, %server, "A server does not follow the change log; going on without it");
        audit::change("server", "authority acknowledge", &subject, &outcome);
        self.ledger.store().remove_server(server).await
    }
}

/// Proof that an authority is published, and that those who hand the bundle out and those who use it were given the time to take it.
#[derive(Clone, Debug)]
pub struct AcknowledgedAuthority {
    published: PublishedAuthority,
    agents: Acknowledged,
}

impl AcknowledgedAuthority {
    /// Waits for the servers, then for the agents of this one; then looks into the bundle, as it is by then.
    pub(crate) async fn wait(
        entry: &Arc<JournalEntry>,
        publicity: Publicity,
        listeners: Listeners<'_>,
    ) -> Result<Self, AuthorityError> {
        let slot = entry.slot;
        let unpublished = || AuthorityError::Unpublished { slot };
        let deadline = Instant::now() + SERVERS_TAKE;
        loop {
            let unacknowledged = |source| AuthorityError::Unacknowledged { slot, source };
            let late = listeners.late(publicity.revision).await.map_err(unacknowledged)?;
            if late.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                for server in late {
                    listeners.give_up(slot, server).await.map_err(unacknowledged)?;
                }
                break;
            }
            sleep(LOOK_FOR_SERVERS).await;
        }
        let acknowledged = listeners.watchers.wait_acknowledged(publicity.sequence, AGENTS_TAKE).await;
        if !acknowledged.missing.is_empty() {
            let (missing, of) = (acknowledged.missing.len(), acknowledged.of);
            tracing::warn!(%slot, missing, of, "Agents have not acknowledged the bundle; going on without them");
        }
        let bundle = listeners.ledger.state().bundle().ok_or_else(unpublished)?;
        Ok(Self { published: PublishedAuthority::find(entry, &bundle)?, agents: acknowledged })
    }

    /// What the journal says is active was acknowledged before it became that, and servers that came later began with a bundle that has it.
    pub fn resume(published: PublishedAuthority) -> Result<Self, AuthorityError> {
        let entry = published.entry();
        if entry.status != SlotStatus::Active {
            return Err(AuthorityError::NeverActive { slot: entry.slot });
        }
        Ok(Self { published, agents: Acknowledged::default() })
    }

    /// The agents that were connected while it was waited for, and who of them had not acknowledged it by the end.
    pub(crate) fn agents(&self) -> &Acknowledged {
        &self.agents
    }

    /// The journal entry that it is about.
    pub fn entry(&self) -> &Arc<JournalEntry> {
        self.published.entry()
    }
}
