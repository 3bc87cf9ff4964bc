//! `token generate`

use plastron_proto::spire::api::server::agent::v1::CreateJoinTokenRequest;
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;

use crate::arguments::spiffe_id;
use crate::output::printable;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `token`.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Generate a join token
    Generate(GenerateArgs),
}

/// Flags of `token generate`.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Token TTL in seconds
    #[arg(long, default_value_t = 600, allow_negative_numbers = true)]
    ttl: i32,
    /// Additional SPIFFE ID to assign the token owner (optional)
    #[arg(long = "spiffeID")]
    spiffe_id: Option<String>,
}

impl TokenCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Generate(args) = self;
        let agent_id = args.spiffe_id.as_deref().map(|text| spiffe_id("SPIFFE ID", text)).transpose()?;
        let missing_id = agent_id.is_none();
        let request = CreateJoinTokenRequest { ttl: args.ttl, token: String::new(), agent_id };
        let channel = args.connection.connect(&io.environment).await?;
        let token = AgentClient::new(channel).create_join_token(request).await?.into_inner();
        match args.output.output {
            Format::Json => io.json(&token),
            Format::Pretty => {
                io.out(&format!("Token: {}\n", printable(&token.value)))?;
                if missing_id { io.out("Warning: Missing SPIFFE ID.\n") } else { Ok(()) }
            }
        }
    }
}
