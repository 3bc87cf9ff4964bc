//! `entry count`

use plastron_proto::spire::api::server::entry::v1::CountEntriesRequest;

use super::client;
use super::filter::FilterArgs;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Flags of `entry count`.
#[derive(Debug, clap::Args)]
pub struct CountArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

impl CountArgs {
    pub(super) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let request = CountEntriesRequest { filter: Some(self.filter.count()?) };
        let counted = client(&self.connection, io).await?.count_entries(request).await?.into_inner();
        let entries = if counted.count == 1 { "entry" } else { "entries" };
        match self.output.output {
            Format::Json => io.json(&counted),
            Format::Pretty => io.out(&format!("{} registration {entries}\n", counted.count)),
        }
    }
}
