//! `bundle show|list|count|set|delete`: this trust domain's bundle, and those of foreign ones.

mod document;
mod set;

use plastron_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleRequest, CountBundlesRequest, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse,
};
use tonic::transport::Channel;

pub(crate) use self::document::{BundleFormat, MAX_FILE_LEN, parse};
use self::set::SetArgs;
use crate::client::MAX_MESSAGE_LEN;
use crate::error::failed;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `bundle`.
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Prints server CA bundle to stdout
    Show(ShowArgs),
    /// Lists federated bundle data
    List(ListArgs),
    /// Count bundles
    Count(CountArgs),
    /// Creates or updates federated bundle data
    Set(SetArgs),
    /// Deletes federated bundle data
    Delete(DeleteArgs),
}

/// Flags of `bundle show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The format to show the bundle (only pretty output format supports this flag)
    #[arg(long, value_enum, ignore_case = true, default_value = "pem")]
    format: BundleFormat,
}

/// Flags of `bundle list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// SPIFFE ID of the trust domain
    #[arg(long, default_value = "")]
    id: String,
    /// The format to list federated bundles (only pretty output format supports this flag)
    #[arg(long, value_enum, ignore_case = true, default_value = "pem")]
    format: BundleFormat,
}

/// Flags of `bundle count`.
#[derive(Debug, clap::Args)]
pub struct CountArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What becomes of entries that federate with the trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DeleteMode {
    /// The bundle stays while an entry names it.
    Restrict,
    /// They go as well.
    Delete,
    /// They stay and don't federate with it any more.
    Dissociate,
}

/// Flags of `bundle delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// SPIFFE ID of the trust domain
    #[arg(long, default_value = "")]
    id: String,
    /// Deletion mode
    #[arg(long, value_enum, default_value = "restrict")]
    mode: DeleteMode,
}

impl BundleCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::Show(args) => show(args, io).await,
            Self::List(args) => list(args, io).await,
            Self::Count(args) => count(args, io).await,
            Self::Set(args) => args.run(io).await,
            Self::Delete(args) => delete(args, io).await,
        }
    }
}

async fn client(connection: &ConnectionArgs, io: &Io<'_>) -> Result<BundleClient<Channel>, CliError> {
    let channel = connection.connect(&io.environment).await?;
    Ok(BundleClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN))
}

async fn show(args: ShowArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let request = GetBundleRequest { output_mask: None };
    let bundle = client(&args.connection, io).await?.get_bundle(request).await?.into_inner();
    match args.output.output {
        Format::Json => io.json(&bundle),
        Format::Pretty => io.out(&document::text(bundle, args.format)?),
    }
}

async fn list(args: ListArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let mut client = client(&args.connection, io).await?;
    if !args.id.is_empty() {
        let request = GetFederatedBundleRequest { trust_domain: args.id, output_mask: None };
        let bundle = client.get_federated_bundle(request).await?.into_inner();
        return match args.output.output {
            Format::Json => io.json(&bundle),
            Format::Pretty => io.out(&document::text(bundle, args.format)?),
        };
    }
    let mut all = ListFederatedBundlesResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListFederatedBundlesRequest { output_mask: None, page_size: 0, page_token };
        let page = client.list_federated_bundles(request).await?.into_inner();
        all.bundles.extend(page.bundles);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match args.output.output {
        Format::Json => io.json(&all),
        Format::Pretty => io.out(&document::list(all.bundles, args.format)?),
    }
}

async fn count(args: CountArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let counted = client(&args.connection, io).await?.count_bundles(CountBundlesRequest {}).await?.into_inner();
    let bundles = if counted.count == 1 { "bundle" } else { "bundles" };
    match args.output.output {
        Format::Json => io.json(&counted),
        Format::Pretty => io.out(&format!("{} {bundles}\n", counted.count)),
    }
}

async fn delete(args: DeleteArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    if args.id.is_empty() {
        return Err(CliError::Usage("id is required"));
    }
    let mode = match args.mode {
        DeleteMode::Restrict => Mode::Restrict,
        DeleteMode::Delete => Mode::Delete,
        DeleteMode::Dissociate => Mode::Dissociate,
    };
    let request = BatchDeleteFederatedBundleRequest { trust_domains: vec![args.id], mode: mode.into() };
    let deleting = "failed to delete federated bundle";
    let mut client = client(&args.connection, io).await?;
    let answer = client.batch_delete_federated_bundle(request).await.map_err(failed(deleting))?.into_inner();
    if let Format::Json = args.output.output {
        return io.json(&answer);
    }
    let result = answer.results.into_iter().next().ok_or_else(|| CliError::Malformed { reason: "no result".into() })?;
    match result.status {
        Some(status) if status.code == 0 => io.out("bundle deleted.\n"),
        status => Err(CliError::item(format!("{deleting} {}", crate::output::quoted(&result.trust_domain)), status)),
    }
}
