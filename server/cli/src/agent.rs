//! `agent list|count|show|ban|evict|purge`

mod filter;
mod purge;
mod render;

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{
    BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
};
use plastron_proto::types::Spiffeid;
use tonic::transport::Channel;

use self::filter::FilterArgs;
use crate::arguments::spiffe_id;
use crate::client::MAX_MESSAGE_LEN;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Agents on one page; a page stays far below gRPC's 4 MiB.
const PAGE_SIZE: i32 = 1000;

/// Verbs of `agent`.
#[derive(Debug, clap::Subcommand)]
pub enum AgentCommand {
    /// List attested agents and their SPIFFE IDs
    List(ListArgs),
    /// Count attested agents
    Count(ListArgs),
    /// Show the details of an attested agent given its SPIFFE ID
    Show(OneArgs),
    /// Ban an attested agent given its SPIFFE ID
    Ban(OneArgs),
    /// Evict an attested agent given its SPIFFE ID
    Evict(OneArgs),
    /// Purge expired agents that were attested using a non-TOFU security model based on a given time
    Purge(purge::PurgeArgs),
}

/// Flags of `agent list` and `agent count`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Flags of the verbs that concern one agent.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The SPIFFE ID of the agent (agent identity)
    #[arg(long = "spiffeID")]
    spiffe_id: Option<String>,
}

impl AgentCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::List(args) => list(args, io).await,
            Self::Count(args) => count(args, io).await,
            Self::Show(args) => show(args, io).await,
            Self::Ban(args) => ban(args, io).await,
            Self::Evict(args) => evict(args, io).await,
            Self::Purge(args) => args.run(io).await,
        }
    }
}

async fn client(connection: &ConnectionArgs, io: &Io<'_>) -> Result<AgentClient<Channel>, CliError> {
    let channel = connection.connect(&io.environment).await?;
    Ok(AgentClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN))
}

async fn list(args: ListArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let filter = args.filter.list()?;
    let mut client = client(&args.connection, io).await?;
    let mut all = ListAgentsResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListAgentsRequest { filter: Some(filter.clone()), output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_agents(request).await?.into_inner();
        all.agents.extend(page.agents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match args.output.output {
        Format::Json => io.json(&all),
        Format::Pretty => io.out(&render::list(&all.agents)),
    }
}

async fn count(args: ListArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let request = CountAgentsRequest { filter: Some(args.filter.count()?) };
    let counted = client(&args.connection, io).await?.count_agents(request).await?.into_inner();
    match args.output.output {
        Format::Json => io.json(&counted),
        Format::Pretty => io.out(&format!("{} attested {}\n", counted.count, render::agents(counted.count == 1))),
    }
}

async fn show(args: OneArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let request = GetAgentRequest { id: Some(args.id()?), output_mask: None };
    let agent = client(&args.connection, io).await?.get_agent(request).await?.into_inner();
    match args.output.output {
        Format::Json => io.json(&agent),
        Format::Pretty => io.out(&render::one(&agent)),
    }
}

async fn ban(args: OneArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let request = BanAgentRequest { id: Some(args.id()?) };
    client(&args.connection, io).await?.ban_agent(request).await?;
    done(args.output, "Agent banned successfully\n", io)
}

async fn evict(args: OneArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let request = DeleteAgentRequest { id: Some(args.id()?) };
    client(&args.connection, io).await?.delete_agent(request).await?;
    done(args.output, "Agent evicted successfully\n", io)
}

fn done(output: OutputArgs, text: &str, io: &mut Io<'_>) -> Result<(), CliError> {
    match output.output {
        Format::Json => io.json(&()),
        Format::Pretty => io.out(text),
    }
}

impl OneArgs {
    fn id(&self) -> Result<Spiffeid, CliError> {
        match self.spiffe_id.as_deref() {
            None | Some("") => Err(CliError::Usage("a SPIFFE ID is required")),
            Some(text) => spiffe_id("SPIFFE ID", text),
        }
    }
}
