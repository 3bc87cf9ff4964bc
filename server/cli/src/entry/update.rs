//! `entry update`

use plastron_proto::spire::api::server::entry::v1::{
    BatchUpdateEntryRequest, BatchUpdateEntryResponse, GetEntryRequest,
};
use plastron_proto::types::Entry;
use tonic::Code;

use super::flags::EntryFlags;
use super::{BATCH, client, data, render};
use crate::error::failed;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `entry update`.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    flags: EntryFlags,
    /// Path to a file containing registration JSON (optional). If set to '-', read the JSON from stdin
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    data: String,
}

impl UpdateArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let mut entries = if self.data.is_empty() { vec![self.entry()?] } else { data::read_entries(&self.data, io)? };
        let mut client = client(&self.connection, io).await?;
        let asks_attributes =
            self.flags.disable_x509_svid_prefetch.is_some() || self.flags.jwt_svid_include_jti.is_some();
        // The attributes have no mask of their own, so those that no flag names are taken from the entry as it is.
        if let (true, true, [entry]) = (self.data.is_empty(), asks_attributes, entries.as_mut_slice()) {
            let request = GetEntryRequest { id: entry.id.clone(), output_mask: None };
            let fetching = failed("failed to fetch existing entry to merge additional attributes");
            let existing = client.get_entry(request).await.map_err(fetching)?.into_inner();
            let mut attributes = existing.additional_attributes.unwrap_or_default();
            if let Some(value) = self.flags.disable_x509_svid_prefetch {
                attributes.disable_x509_svid_prefetch = value;
            }
            if let Some(value) = self.flags.jwt_svid_include_jti {
                attributes.jwt_svid_include_jti = value;
            }
            entry.additional_attributes = Some(attributes);
        }
        let mut all = BatchUpdateEntryResponse::default();
        for batch in entries.chunks(BATCH) {
            let request = BatchUpdateEntryRequest { entries: batch.to_vec(), input_mask: None, output_mask: None };
            let answer = client.batch_update_entry(request).await?.into_inner();
            all.results.extend(answer.results.into_iter().zip(batch).map(|(mut result, entry)| {
                if result.status.as_ref().is_none_or(|status| status.code != 0) {
                    result.entry = Some(entry.clone());
                }
                result
            }));
        }
        match self.output.output {
            Format::Json => io.json(&all),
            Format::Pretty => pretty(&all, io),
        }
    }

    fn entry(&self) -> Result<Entry, CliError> {
        if self.flags.entry_id.is_empty() {
            return Err(CliError::Usage("entry ID is required"));
        }
        self.flags.check_selectors()?;
        if self.flags.parent_id.is_empty() {
            return Err(CliError::Usage("a parent ID is required"));
        }
        self.flags.entry(None)
    }
}

fn pretty(all: &BatchUpdateEntryResponse, io: &mut Io<'_>) -> Result<(), CliError> {
    let results = all.results.iter().map(|result| (result.status.as_ref(), result.entry.as_ref()));
    match render::batch("update", results, io)? {
        Code::Ok => Ok(()),
        code => Err(CliError::Items { what: "failed to update one or more entries", code }),
    }
}
