//! `entry show`

use plastron_proto::spire::api::server::entry::v1::{GetEntryRequest, ListEntriesRequest, ListEntriesResponse};
use plastron_proto::types::{Entry, Spiffeid};

use super::filter::FilterArgs;
use super::{client, render};
use crate::error::failed;
use crate::output::printable;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Entries on one page; a page stays below gRPC's 4 MiB.
const PAGE_SIZE: i32 = 500;

/// Flags of `entry show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The Entry ID of the records to show
    #[arg(long = "entryID", default_value = "")]
    entry_id: String,
    #[command(flatten)]
    filter: FilterArgs,
}

impl ShowArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        if !self.entry_id.is_empty() && !self.filter.is_empty() {
            return Err(CliError::Usage("the -entryID flag can't be combined with others"));
        }
        let filter = self.filter.list()?;
        let mut client = client(&self.connection, io).await?;
        let mut all = ListEntriesResponse::default();
        if self.entry_id.is_empty() {
            let mut page_token = String::new();
            loop {
                let filter = Some(filter.clone());
                let request = ListEntriesRequest { filter, output_mask: None, page_size: PAGE_SIZE, page_token };
                let page = client.list_entries(request).await.map_err(failed("error fetching entries"))?.into_inner();
                all.entries.extend(page.entries);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
        } else {
            let fetching = failed(format!("error fetching entry ID {}", printable(&self.entry_id)));
            let request = GetEntryRequest { id: self.entry_id, output_mask: None };
            all.entries.push(client.get_entry(request).await.map_err(fetching)?.into_inner());
        }
        sort(&mut all.entries);
        match self.output.output {
            Format::Json => io.json(&all),
            Format::Pretty => io.out(&render::list(&all.entries)),
        }
    }
}

/// By SPIFFE ID, parent, lifetimes, then selectors, as SPIRE shows them.
fn sort(entries: &mut [Entry]) {
    fn id(id: Option<&Spiffeid>) -> (&str, &str) {
        id.map_or(("", ""), |id| (id.trust_domain.as_str(), id.path.as_str()))
    }
    fn selectors(entry: &Entry) -> (usize, Vec<(&str, &str)>) {
        (entry.selectors.len(), entry.selectors.iter().map(|s| (s.r#type.as_str(), s.value.as_str())).collect())
    }
    for entry in entries.iter_mut() {
        entry.selectors.sort_by(|a, b| (&a.r#type, &a.value).cmp(&(&b.r#type, &b.value)));
    }
    entries.sort_by(|a, b| {
        id(a.spiffe_id.as_ref())
            .cmp(&id(b.spiffe_id.as_ref()))
            .then_with(|| id(a.parent_id.as_ref()).cmp(&id(b.parent_id.as_ref())))
            .then_with(|| (a.x509_svid_ttl, a.jwt_svid_ttl).cmp(&(b.x509_svid_ttl, b.jwt_svid_ttl)))
            .then_with(|| selectors(a).cmp(&selectors(b)))
    });
}
