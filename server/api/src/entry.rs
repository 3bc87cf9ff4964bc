//! `spire.api.server.entry.v1.Entry`: registration entries, and those that an agent may serve.

mod sync;

use plastron_proto::spire::api::server::entry::v1::entry_server::Entry;
use plastron_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
    GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
    ListEntriesResponse, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse, batch_create_entry_response,
    batch_delete_entry_response, batch_update_entry_response, count_entries_request, list_entries_request,
};
use plastron_proto::types;
use plastron_server_core::authorization::rpc;
use plastron_server_core::limits::MAX_ENTRIES_PER_CALL;
use plastron_server_core::registration::{EntryError, RegistrationError};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::batch::{Split, merge};
use crate::caller::caller;
use crate::context::Context;
use crate::convert::{ConvertError, entry, filter};
use crate::limits::MAX_PAGE_LEN;
use crate::status::{Failure, ok};

pub(crate) struct EntryService(pub(crate) Context);

fn unconverted(source: ConvertError) -> Failure {
    Failure::Request { step: "failed to convert entry", source }
}

/// Before anything is converted.
fn check_count(got: usize) -> Result<(), Failure> {
    if got > MAX_ENTRIES_PER_CALL {
        return Err(Failure::Registration(RegistrationError::TooMany { got }));
    }
    Ok(())
}

/// The status and the entry of one item; an entry that exists already is shown with its refusal.
fn outcome(
    result: Result<std::sync::Arc<plastron_spiffe::RegistrationEntry>, Failure>,
    mask: Option<&types::EntryMask>,
) -> (Option<types::Status>, Option<types::Entry>) {
    match result {
        Ok(created) => (Some(ok()), Some(entry::to_proto(&created, mask))),
        Err(failure) => {
            let status = Some(failure.item());
            let existing = match failure {
                Failure::EntryAsIs(EntryError::Exists(existing)) => Some(entry::to_proto(&existing, mask)),
                _ => None,
            };
            (status, existing)
        }
    }
}

#[tonic::async_trait]
impl Entry for EntryService {
    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        let permit = self.0.permit::<rpc::CountEntries, _>(&request).await?;
        let filter = request.into_inner().filter.map(as_list_filter);
        let filter = filter::entries(filter, self.0.trust_domain())?;
        let count = self.0.services.registration.count(permit, &filter);
        Ok(Response::new(CountEntriesResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let permit = self.0.permit::<rpc::ListEntries, _>(&request).await?;
        let ListEntriesRequest { filter, output_mask, page_size, page_token } = request.into_inner();
        let filter = filter::entries(filter, self.0.trust_domain())?;
        let page = filter::page(page_size, page_token);
        let page = self.0.services.registration.list(permit, &filter, &page).map_err(Failure::Page)?;
        let entries = page.items.iter().map(|item| entry::to_proto(item, output_mask.as_ref())).collect();
        Ok(Response::new(ListEntriesResponse { entries, next_page_token: page.next_token }))
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        let permit = self.0.permit::<rpc::GetEntry, _>(&request).await?;
        let GetEntryRequest { id, output_mask } = request.into_inner();
        if id.is_empty() {
            return Err(Failure::Protocol("missing ID").into());
        }
        let found = self.0.services.registration.get(permit, &id).map_err(Failure::from_entry)?;
        Ok(Response::new(entry::to_proto(&found, output_mask.as_ref())))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchCreateEntry, _>(&request).await?;
        let BatchCreateEntryRequest { entries, output_mask } = request.into_inner();
        check_count(entries.len())?;
        let Split { good, refused } = Split::of(
            entries.into_iter().map(|item| entry::from_proto(item, self.0.trust_domain()).map_err(unconverted)),
        );
        let created = self.0.services.registration.create(permit, good).await.map_err(Failure::Registration)?;
        let created = created.into_iter().map(|result| result.map_err(Failure::create)).collect();
        let results = merge(refused, created).map(|result| {
            let (status, entry) = outcome(result, output_mask.as_ref());
            batch_create_entry_response::Result { status, entry }
        });
        Ok(Response::new(BatchCreateEntryResponse { results: results.collect() }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchUpdateEntry, _>(&request).await?;
        let BatchUpdateEntryRequest { entries, input_mask, output_mask } = request.into_inner();
        check_count(entries.len())?;
        let patches = entries
            .into_iter()
            .map(|item| entry::to_patch(item, input_mask.as_ref(), self.0.trust_domain()).map_err(unconverted));
        let Split { good, refused } = Split::of(patches);
        let updated = self.0.services.registration.update(permit, good).await.map_err(Failure::Registration)?;
        let updated = updated.into_iter().map(|result| result.map_err(Failure::update)).collect();
        let results = merge(refused, updated).map(|result| {
            let (status, entry) = outcome(result, output_mask.as_ref());
            batch_update_entry_response::Result { status, entry }
        });
        Ok(Response::new(BatchUpdateEntryResponse { results: results.collect() }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let permit = self.0.permit::<rpc::BatchDeleteEntry, _>(&request).await?;
        let ids = request.into_inner().ids;
        check_count(ids.len())?;
        let missing = || Failure::Protocol("missing entry ID");
        let Split { good, refused } =
            Split::of(ids.iter().map(|id| if id.is_empty() { Err(missing()) } else { Ok(id.clone()) }));
        let deleted = self.0.services.registration.delete(permit, good).await.map_err(Failure::Registration)?;
        let deleted = deleted.into_iter().map(|result| result.map_err(Failure::from_entry)).collect();
        let results = ids.into_iter().zip(merge(refused, deleted)).map(|(id, result)| {
            let status = Some(result.map_or_else(|failure| failure.item(), |()| ok()));
            batch_delete_entry_response::Result { status, id }
        });
        Ok(Response::new(BatchDeleteEntryResponse { results: results.collect() }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let permit = self.0.permit::<rpc::GetAuthorizedEntries, _>(&request).await?;
        let mask = request.into_inner().output_mask;
        let entries = self.0.services.registration.authorized_entries(&permit);
        let entries: Vec<_> = entries.iter().map(|item| entry::to_proto(item, mask.as_ref())).collect();
        let response = GetAuthorizedEntriesResponse { entries };
        if response.encoded_len() > MAX_PAGE_LEN {
            let got = response.entries.len();
            return Err(Status::resource_exhausted(format!(
                "{got} entries do not fit one message: use SyncAuthorizedEntries"
            )));
        }
        Ok(Response::new(response))
    }

    type SyncAuthorizedEntriesStream = ReceiverStream<Result<SyncAuthorizedEntriesResponse, Status>>;

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<Self::SyncAuthorizedEntriesStream>, Status> {
        let permit = self.0.permit::<rpc::SyncAuthorizedEntries, _>(&request).await?;
        let entries = self.0.services.registration.authorized_entries(&permit);
        let (services, caller) = (std::sync::Arc::clone(&self.0.services), caller(request.extensions()));
        Ok(Response::new(sync::start(sync::Agent { services, caller }, entries, request.into_inner())))
    }
}

fn as_list_filter(filter: count_entries_request::Filter) -> list_entries_request::Filter {
    let count_entries_request::Filter {
        by_spiffe_id,
        by_parent_id,
        by_selectors,
        by_federates_with,
        by_hint,
        by_downstream,
    } = filter;
    list_entries_request::Filter { by_spiffe_id, by_parent_id, by_selectors, by_federates_with, by_hint, by_downstream }
}
