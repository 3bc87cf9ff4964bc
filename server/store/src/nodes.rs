//! Attested nodes, and the one transaction that admits them.

mod admit;
mod row;

use std::sync::Arc;

use plastron_server_core::store::{
    AdmissionRecord, AdmitError, Committed, CutOff, Event, Node, NodeError, NodeStore, NodeSvid, Standing, StoreError,
};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::SerialNumber;

use crate::SqliteStore;
use crate::error::Purpose;
use crate::write::Write;

#[async_trait::async_trait]
impl NodeStore for SqliteStore {
    async fn admit(&self, record: AdmissionRecord) -> Result<Committed<Arc<Node>>, AdmitError> {
        admit::admit(self, record).await
    }

    async fn renew(
        &self,
        id: SpiffeId,
        presented: SerialNumber,
        svid: NodeSvid,
    ) -> Result<Committed<Arc<Node>>, NodeError> {
        self.change(Purpose("renew a node's SVID"), id, move |node| match &mut node.standing {
            Standing::Active { current, pending } if current.serial == presented => {
                *pending = Some(svid);
                Ok(())
            }
            Standing::Banned { .. } => Err(NodeError::Banned { id: node.id.clone() }),
            Standing::Active { .. } | Standing::CutOff { .. } | Standing::Quarantined { .. } => {
                Err(NodeError::SerialMoved { id: node.id.clone() })
            }
        })
        .await
    }

    async fn promote(&self, id: SpiffeId, serial: SerialNumber) -> Result<Committed<Arc<Node>>, NodeError> {
        self.change(Purpose("record the first use of a node's SVID"), id, move |node| match &mut node.standing {
            Standing::Active { current, .. } if current.serial == serial => Ok(()),
            Standing::Active { current, pending } => match pending.take_if(|pending| pending.serial == serial) {
                Some(used) => {
                    *current = used;
                    Ok(())
                }
                None => Err(NodeError::SerialMoved { id: node.id.clone() }),
            },
            Standing::Banned { .. } => Err(NodeError::Banned { id: node.id.clone() }),
            Standing::CutOff { .. } | Standing::Quarantined { .. } => {
                Err(NodeError::SerialMoved { id: node.id.clone() })
            }
        })
        .await
    }

    async fn set_agent_version(&self, id: SpiffeId, version: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.change(Purpose("record an agent's version"), id, move |node| {
            node.agent_version = version;
            Ok(())
        })
        .await
    }

    async fn cut_off(&self, id: SpiffeId, until: CutOff, reason: String) -> Result<Committed<Arc<Node>>, NodeError> {
        self.change(Purpose("cut a node off"), id, move |node| {
            let not_after = node.expires_at();
            match (&node.standing, until) {
                (Standing::Banned { .. } | Standing::Quarantined { .. }, _) => {}
                (Standing::Active { .. } | Standing::CutOff { .. }, CutOff::UntilAdmitted) => {
                    node.standing = Standing::CutOff { not_after, reason };
                }
                (Standing::Active { .. } | Standing::CutOff { .. }, CutOff::UntilEvicted) => {
                    node.standing = Standing::Quarantined { not_after, reason };
                }
            }
            Ok(())
        })
        .await
    }

    async fn ban(&self, id: SpiffeId) -> Result<Committed<Arc<Node>>, NodeError> {
        self.change(Purpose("ban a node"), id, |node| {
            node.standing = Standing::Banned { not_after: node.expires_at() };
            Ok(())
        })
        .await
    }

    async fn event_log(&self, sha256: [u8; 32], len: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_event_log(sha256, len).await
    }

    async fn evict(&self, id: SpiffeId) -> Result<Committed<()>, NodeError> {
        const PURPOSE: Purpose = Purpose("evict a node");
        let mut write = Write::begin(self, PURPOSE).await?;
        let Some(node) = self.node_with_id(write.connection(), &id).await? else {
            return Err(NodeError::NotFound { id });
        };
        self.forget(PURPOSE, &mut write, node).await?;
        Ok(Committed { value: (), changes: write.commit(PURPOSE).await? })
    }

    async fn prune_nodes(
        &self,
        ids: Vec<SpiffeId>,
        expired_before: u64,
    ) -> Result<Committed<Vec<SpiffeId>>, StoreError> {
        const PURPOSE: Purpose = Purpose("prune expired nodes");
        let mut write = Write::begin(self, PURPOSE).await?;
        let mut pruned = Vec::new();
        for id in ids {
            let node = self.node_with_id(write.connection(), &id).await?;
            if let Some(node) = node.filter(|node| node.is_forgettable(expired_before)) {
                self.forget(PURPOSE, &mut write, node).await?;
                pruned.push(id);
            }
        }
        Ok(Committed { value: pruned, changes: write.commit(PURPOSE).await? })
    }
}

impl SqliteStore {
    /// Deletes a node that is there, and the event log that no other node names.
    async fn forget(&self, purpose: Purpose, write: &mut Write<'_>, node: Node) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM nodes WHERE id = ?")
            .bind(node.id.as_str())
            .execute(write.connection())
            .await
            .map_err(|error| self.failed(purpose, &error))?;
        if let Some(log) = node.tpm.and_then(|tpm| tpm.event_log_sha256) {
            self.drop_event_log(write.connection(), log).await?;
        }
        write.note(Event::NodeDeleted { id: node.id });
        Ok(())
    }

    /// Reads a node, changes it and writes it back if it became another, in one transaction.
    async fn change(
        &self,
        purpose: Purpose,
        id: SpiffeId,
        change: impl FnOnce(&mut Node) -> Result<(), NodeError> + Send,
    ) -> Result<Committed<Arc<Node>>, NodeError> {
        let mut write = Write::begin(self, purpose).await?;
        let before = self.node_with_id(write.connection(), &id).await?.ok_or(NodeError::NotFound { id })?;
        let mut after = before.clone();
        change(&mut after)?;
        let node = Arc::new(after);
        if *node != before {
            self.replace_node(write.connection(), &node).await?;
            write.note(Event::Node(Arc::clone(&node)));
        }
        Ok(Committed { value: node, changes: write.commit(purpose).await? })
    }
}
