//! `debug getinfo`

use plastron_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse};

use crate::output::{id_text, printable, utc};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `debug`.
#[derive(Debug, clap::Subcommand)]
pub enum DebugCommand {
    /// Print the server's uptime, counts and SVID
    Getinfo(GetInfoArgs),
}

/// Flags of `debug getinfo`.
#[derive(Debug, clap::Args)]
pub struct GetInfoArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl DebugCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Getinfo(args) = self;
        let channel = args.connection.connect(&io.environment).await?;
        let info = DebugClient::new(channel).get_info(GetInfoRequest {}).await?.into_inner();
        match args.output.output {
            Format::Json => io.json(&info),
            Format::Pretty => io.out(&render(&info)),
        }
    }
}

fn render(info: &GetInfoResponse) -> String {
    let mut text = format!(
        "Uptime            : {} s\nAgents            : {}\nEntries           : {}\nFederated bundles : {}\n",
        info.uptime, info.agents_count, info.entries_count, info.federated_bundles_count
    );
    for cert in &info.svid_chain {
        text += &format!(
            "SVID chain        : {} {} until {}\n",
            id_text(cert.id.as_ref()),
            printable(&cert.subject),
            utc(cert.expires_at)
        );
    }
    text
}
