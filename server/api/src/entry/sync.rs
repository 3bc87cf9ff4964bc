//! SyncAuthorizedEntries: an agent learns what changed without being sent everything.
//!
//! The first request names the fields. Few entries are answered at once. Of many, the agent first gets identifiers with revisions, in
//! pages, and then asks for those that it lacks; what it may not serve is left out silently. A page is bounded in entries and in bytes,
//! a stream in rounds and in idle time. The table is asked again at each request, so that the stream of an agent that is banned ends.

use std::sync::Arc;

use plastron_proto::spire::api::server::entry::v1::{
    EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use plastron_proto::types::{Entry, EntryMask};
use plastron_server_core::Services;
use plastron_server_core::authorization::{Caller, rpc};
use plastron_spiffe::RegistrationEntry;
use prost::Message as _;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::convert::entry;
use crate::limits::{MAX_PAGE_LEN, MAX_SYNC_ROUNDS, SYNC_IDLE, SYNC_PAGE};
use crate::status::{Failure, decoded};

type Answer = Result<SyncAuthorizedEntriesResponse, Status>;

/// Whose stream it is.
pub(super) struct Agent {
    pub(super) services: Arc<Services>,
    pub(super) caller: Caller,
}

impl Agent {
    async fn check(&self) -> Result<(), Failure> {
        self.services.authorizer.authorize::<rpc::SyncAuthorizedEntries>(&self.caller).await?;
        Ok(())
    }
}

/// Serves one stream in a task of its own; `entries` are those of the agent at this moment, by identifier.
pub(super) fn start(
    agent: Agent,
    entries: Vec<Arc<RegistrationEntry>>,
    requests: Streaming<SyncAuthorizedEntriesRequest>,
) -> ReceiverStream<Answer> {
    let (answers, stream) = channel(1);
    tokio::spawn(async move {
        if let Err(status) = serve(&agent, &entries, requests, &answers).await {
            let _gone = answers.send(Err(status)).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn serve(
    agent: &Agent,
    entries: &[Arc<RegistrationEntry>],
    mut requests: Streaming<SyncAuthorizedEntriesRequest>,
    answers: &Sender<Answer>,
) -> Result<(), Status> {
    let Some(first) = next(&mut requests).await? else { return Ok(()) };
    agent.check().await?;
    let mask = check_first(first)?;
    if let Some(everything) = all_at_once(entries, mask.as_ref()) {
        let _gone = answers.send(Ok(everything)).await;
        return Ok(());
    }
    for page in revisions(entries) {
        if answers.send(Ok(page)).await.is_err() {
            return Ok(());
        }
    }
    for _round in 0..MAX_SYNC_ROUNDS {
        let Some(request) = next(&mut requests).await? else { return Ok(()) };
        agent.check().await?;
        for page in Pages::new(entries, request.ids, mask.as_ref()) {
            if answers.send(Ok(page)).await.is_err() {
                return Ok(());
            }
        }
    }
    Err(Failure::Protocol("the sync takes too many rounds").into())
}

/// `None` once the agent has closed its side or gone.
async fn next(
    requests: &mut Streaming<SyncAuthorizedEntriesRequest>,
) -> Result<Option<SyncAuthorizedEntriesRequest>, Status> {
    let idle = || Failure::Idle { what: "the agent's next request", seconds: SYNC_IDLE.as_secs() };
    let message = tokio::time::timeout(SYNC_IDLE, requests.message()).await.map_err(|_elapsed| idle())?;
    match message {
        Err(status) if status.code() == tonic::Code::Cancelled => Ok(None),
        message => message.map_err(decoded),
    }
}

fn check_first(request: SyncAuthorizedEntriesRequest) -> Result<Option<EntryMask>, Failure> {
    if !request.ids.is_empty() {
        return Err(Failure::Protocol("specifying IDs on initial request is not supported"));
    }
    // Without it the agent could not see what changed.
    if request.output_mask.as_ref().is_some_and(|mask| !mask.revision_number) {
        return Err(Failure::Protocol("revision number cannot be masked"));
    }
    Ok(request.output_mask)
}

/// Everything in one message, where it fits one.
fn all_at_once(entries: &[Arc<RegistrationEntry>], mask: Option<&EntryMask>) -> Option<SyncAuthorizedEntriesResponse> {
    if entries.len() > SYNC_PAGE {
        return None;
    }
    let entries = entries.iter().map(|item| entry::to_proto(item, mask)).collect();
    let response = SyncAuthorizedEntriesResponse { entry_revisions: Vec::new(), entries, more: false };
    (response.encoded_len() <= MAX_PAGE_LEN).then_some(response)
}

fn revisions(entries: &[Arc<RegistrationEntry>]) -> impl Iterator<Item = SyncAuthorizedEntriesResponse> {
    let pages = entries.len().div_ceil(SYNC_PAGE);
    entries.chunks(SYNC_PAGE).enumerate().map(move |(index, page)| SyncAuthorizedEntriesResponse {
        entry_revisions: page
            .iter()
            .map(|item| EntryRevision {
                id: item.id.clone(),
                revision_number: item.revision_number,
                created_at: item.created_at,
            })
            .collect(),
        entries: Vec::new(),
        more: index + 1 < pages,
    })
}

/// The pages that answer one request: at least one, the last without `more`.
struct Pages<'a> {
    entries: &'a [Arc<RegistrationEntry>],
    ids: std::vec::IntoIter<String>,
    mask: Option<&'a EntryMask>,
    /// Converted already, but too much for the page before.
    held: Option<Entry>,
    done: bool,
}

impl<'a> Pages<'a> {
    fn new(entries: &'a [Arc<RegistrationEntry>], ids: Vec<String>, mask: Option<&'a EntryMask>) -> Self {
        Self { entries, ids: ids.into_iter(), mask, held: None, done: false }
    }

    fn next_entry(&mut self) -> Option<Entry> {
        if self.held.is_some() {
            return self.held.take();
        }
        self.ids.by_ref().find_map(|id| {
            let at = self.entries.binary_search_by(|item| item.id.as_str().cmp(&id)).ok()?;
            self.entries.get(at).map(|item| entry::to_proto(item, self.mask))
        })
    }
}

impl Iterator for Pages<'_> {
    type Item = SyncAuthorizedEntriesResponse;

    fn next(&mut self) -> Option<SyncAuthorizedEntriesResponse> {
        if self.done {
            return None;
        }
        let mut page = Vec::new();
        let mut len = 0;
        while let Some(next) = self.next_entry() {
            let entry_len = next.encoded_len();
            if page.len() == SYNC_PAGE || (!page.is_empty() && len + entry_len > MAX_PAGE_LEN) {
                self.held = Some(next);
                break;
            }
            len += entry_len;
            page.push(next);
        }
        self.done = self.held.is_none();
        Some(SyncAuthorizedEntriesResponse { entry_revisions: Vec::new(), entries: page, more: !self.done })
    }
}

#[cfg(test)]
mod tests;
