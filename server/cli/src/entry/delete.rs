//! `entry delete`

use plastron_proto::spire::api::server::entry::v1::{BatchDeleteEntryRequest, BatchDeleteEntryResponse};
use tonic::Code;

use super::{BATCH, client, data};
use crate::output::{code_name, printable, quoted};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `entry delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The Registration Entry ID of the record to delete
    #[arg(long = "entryID", default_value = "")]
    entry_id: String,
    /// Path to a file containing a JSON structure for batch deletion (optional). If set to '-', read from stdin
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    file: String,
}

impl DeleteArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let ids = match (self.file.as_str(), self.entry_id.as_str()) {
            ("", "") => return Err(CliError::Usage("an entry ID is required")),
            ("", id) => vec![id.to_owned()],
            (file, _) => data::read_ids(file, io)?,
        };
        let mut client = client(&self.connection, io).await?;
        let mut all = BatchDeleteEntryResponse::default();
        for batch in ids.chunks(BATCH) {
            let request = BatchDeleteEntryRequest { ids: batch.to_vec() };
            all.results.extend(client.batch_delete_entry(request).await?.into_inner().results);
        }
        match self.output.output {
            Format::Json => io.json(&all),
            Format::Pretty => pretty(&all, io),
        }
    }
}

fn pretty(all: &BatchDeleteEntryResponse, io: &mut Io<'_>) -> Result<(), CliError> {
    let mut first_failure = Code::Ok;
    let mut failures = String::new();
    let (mut deleted, mut failed) = (0_usize, 0_usize);
    for result in &all.results {
        let id = printable(&result.id);
        let status = result.status.clone().unwrap_or_default();
        if status.code == 0 {
            deleted += 1;
            io.out(&format!("Deleted entry with ID: {id}\n"))?;
            continue;
        }
        failed += 1;
        let code = Code::from(status.code);
        if first_failure == Code::Ok {
            first_failure = code;
        }
        failures += &format!(
            "Failed to delete entry with ID {id} (code: {}, msg: {})\n",
            code_name(code),
            quoted(&status.message)
        );
    }
    if deleted > 0 {
        io.out("\n\n")?;
    }
    io.err(&failures)?;
    match (failed, deleted) {
        (0, _) => return io.out(&format!("Deleted {deleted} entries successfully")),
        (_, 0) => io.out(&format!("\n\nFailed to delete {failed} entries"))?,
        _ => io.out(&format!("\n\nDeleted {deleted} entries successfully, but failed to delete {failed} entries"))?,
    }
    Err(CliError::Items { what: "failed to delete one or more entries", code: first_failure })
}
