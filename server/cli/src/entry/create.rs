//! `entry create`

use plastron_proto::spire::api::server::entry::v1::{BatchCreateEntryRequest, BatchCreateEntryResponse};
use plastron_proto::types::{Entry, Spiffeid};
use tonic::Code;

use super::flags::EntryFlags;
use super::{BATCH, client, data, render};
use crate::arguments::go_bool;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `entry create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    flags: EntryFlags,
    /// If set, this entry will be applied to matching nodes rather than workloads
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = go_bool, action = clap::ArgAction::Set)]
    node: bool,
    /// Path to a file containing registration JSON (optional). If set to '-', read the JSON from stdin
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    data: String,
}

impl CreateArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let entries = if self.data.is_empty() { vec![self.entry()?] } else { data::read_entries(&self.data, io)? };
        let mut client = client(&self.connection, io).await?;
        let mut all = BatchCreateEntryResponse::default();
        for batch in entries.chunks(BATCH) {
            let request = BatchCreateEntryRequest { entries: batch.to_vec(), output_mask: None };
            let answer = client.batch_create_entry(request).await?.into_inner();
            // The answer does not repeat an entry that it refused.
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
        self.flags.check_selectors()?;
        if self.node && !self.flags.federates_with.is_empty() {
            return Err(CliError::Usage("node entries can not federate"));
        }
        if self.flags.parent_id.is_empty() && !self.node {
            return Err(CliError::Usage("a parent ID is required if the node flag is not set"));
        }
        let entry = self.flags.entry(self.node.then(Spiffeid::default))?;
        if !self.node {
            return Ok(entry);
        }
        // Entries for nodes stand under the server itself.
        let trust_domain = self.flags.spiffe_id()?.trust_domain;
        Ok(Entry { parent_id: Some(Spiffeid { trust_domain, path: "/spire/server".to_owned() }), ..entry })
    }
}

fn pretty(all: &BatchCreateEntryResponse, io: &mut Io<'_>) -> Result<(), CliError> {
    let results = all.results.iter().map(|result| (result.status.as_ref(), result.entry.as_ref()));
    match render::batch("create", results, io)? {
        Code::Ok => Ok(()),
        code => Err(CliError::Items { what: "failed to create one or more entries", code }),
    }
}
