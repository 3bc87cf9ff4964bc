//! SyncAuthorizedEntries (SPIRE: `pkg/agent/client`): all entries in one go where they are few, else revisions first and then only the
//! entries that are new or changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use plastron_agent_core::upstream::{EntryRevision, EntrySync, KnownEntries, UpstreamError};
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::entry::v1::{SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse};
use plastron_proto::types::{Entry, EntryMask};
use plastron_spiffe::TrustDomain;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tonic::transport::Channel;

use crate::convert;
use crate::status::bounded;

const RPC: &str = "SyncAuthorizedEntries";
/// Most entries of one agent: fifty times what SPIRE's guide sizes an agent for.
const MAX_ENTRIES: usize = 100_000;

/// What an agent needs to know of an entry; the server refuses a mask without the revision.
const MASK: EntryMask = EntryMask {
    spiffe_id: true,
    parent_id: false,
    selectors: true,
    x509_svid_ttl: false,
    federates_with: true,
    admin: true,
    downstream: true,
    expires_at: false,
    dns_names: false,
    revision_number: true,
    store_svid: true,
    jwt_svid_ttl: false,
    hint: true,
    created_at: true,
    additional_attributes: true,
};

pub(crate) async fn sync(
    server: &str,
    channel: Channel,
    own: &TrustDomain,
    known: &KnownEntries,
) -> Result<EntrySync, UpstreamError> {
    let (requests, stream) = mpsc::channel(1);
    let _ended = requests.send(SyncAuthorizedEntriesRequest { output_mask: Some(MASK), ids: Vec::new() }).await;
    let mut client = EntryClient::new(channel);
    let call = client.sync_authorized_entries(ReceiverStream::new(stream));
    let replies = bounded(server, RPC, call).await?.into_inner();
    Exchange { server, requests, replies, own, sync: EntrySync::default() }.run(known).await
}

struct Exchange<'a, S> {
    server: &'a str,
    requests: mpsc::Sender<SyncAuthorizedEntriesRequest>,
    replies: S,
    own: &'a TrustDomain,
    sync: EntrySync,
}

impl<S: Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + Unpin> Exchange<'_, S> {
    async fn run(mut self, known: &KnownEntries) -> Result<EntrySync, UpstreamError> {
        let first = self.reply().await?;
        if first.entry_revisions.is_empty() {
            self.take_all(first).await?;
            return Ok(self.sync);
        }
        let page = first.entry_revisions.len();
        let needed = self.take_revisions(first, known).await?;
        for ids in needed.chunks(page) {
            self.take_changed(ids).await?;
        }
        Ok(self.sync)
    }

    /// The server sends everything, in one reply or several.
    async fn take_all(&mut self, mut reply: SyncAuthorizedEntriesResponse) -> Result<(), UpstreamError> {
        loop {
            if !reply.entry_revisions.is_empty() {
                return Err(malformed("revisions among entries"));
            }
            for entry in reply.entries {
                self.take(entry)?;
            }
            if !reply.more {
                return Ok(());
            }
            reply = self.reply().await?;
        }
    }

    /// Reads all revisions; the ids of entries that we lack, sorted.
    async fn take_revisions(
        &mut self,
        mut reply: SyncAuthorizedEntriesResponse,
        known: &KnownEntries,
    ) -> Result<Vec<String>, UpstreamError> {
        let mut needed = BTreeSet::new();
        loop {
            if !reply.entries.is_empty() {
                return Err(malformed("entries among revisions"));
            }
            for revision in reply.entry_revisions {
                let held = EntryRevision { revision: revision.revision_number, created_at: revision.created_at };
                if known.get(revision.id.as_str()) != Some(&held) {
                    needed.insert(revision.id.clone());
                }
                self.authorize(&Arc::from(revision.id))?;
            }
            if !reply.more {
                return Ok(needed.into_iter().collect());
            }
            reply = self.reply().await?;
        }
    }

    /// Asks for one page of entries. What the server leaves out, we may no longer serve.
    async fn take_changed(&mut self, ids: &[String]) -> Result<(), UpstreamError> {
        let request = SyncAuthorizedEntriesRequest { output_mask: None, ids: ids.to_vec() };
        let _ended = self.requests.send(request).await;
        for id in ids {
            self.sync.authorized.remove(id.as_str());
        }
        loop {
            let reply = self.reply().await?;
            if !reply.entry_revisions.is_empty() {
                return Err(malformed("revisions where entries were asked for"));
            }
            for entry in reply.entries {
                if ids.binary_search(&entry.id).is_err() {
                    return Err(malformed("an entry that was not asked for"));
                }
                self.take(entry)?;
            }
            if !reply.more {
                return Ok(());
            }
        }
    }

    fn take(&mut self, entry: Entry) -> Result<(), UpstreamError> {
        let id = entry.id.clone();
        match convert::entry(entry, self.own) {
            Ok(entry) => {
                self.authorize(&entry.id)?;
                self.sync.entries.push(entry);
            }
            Err(reason) => tracing::error!(entry = ?id, reason, "The server sent a malformed entry; it is left out"),
        }
        Ok(())
    }

    fn authorize(&mut self, id: &Arc<str>) -> Result<(), UpstreamError> {
        self.sync.authorized.insert(Arc::clone(id));
        if self.sync.authorized.len() > MAX_ENTRIES {
            return Err(malformed("more than 100,000 entries for one agent"));
        }
        Ok(())
    }

    async fn reply(&mut self) -> Result<SyncAuthorizedEntriesResponse, UpstreamError> {
        let reply = bounded(self.server, RPC, async { self.replies.next().await.transpose() }).await?;
        reply.ok_or_else(|| malformed("the stream ended early"))
    }
}

fn malformed(reason: &str) -> UpstreamError {
    UpstreamError::MalformedReply { rpc: RPC, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
