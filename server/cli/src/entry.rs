//! `entry create|update|show|count|delete`

mod count;
mod create;
mod data;
mod delete;
mod filter;
mod flags;
mod render;
mod show;
mod update;

use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use tonic::transport::Channel;

use crate::client::MAX_MESSAGE_LEN;
use crate::{CliError, ConnectionArgs, Io};

/// Entries in one call: a file of any length is sent in parts that fit gRPC's 4 MiB.
const BATCH: usize = 500;

/// Verbs of `entry`.
#[derive(Debug, clap::Subcommand)]
pub enum EntryCommand {
    /// Create registration entries
    Create(create::CreateArgs),
    /// Update registration entries
    Update(update::UpdateArgs),
    /// Display configured registration entries
    Show(show::ShowArgs),
    /// Count registration entries
    Count(count::CountArgs),
    /// Delete registration entries
    Delete(delete::DeleteArgs),
}

impl EntryCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::Create(args) => args.run(io).await,
            Self::Update(args) => args.run(io).await,
            Self::Show(args) => args.run(io).await,
            Self::Count(args) => args.run(io).await,
            Self::Delete(args) => args.run(io).await,
        }
    }
}

async fn client(connection: &ConnectionArgs, io: &Io<'_>) -> Result<EntryClient<Channel>, CliError> {
    let channel = connection.connect(&io.environment).await?;
    Ok(EntryClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN))
}
