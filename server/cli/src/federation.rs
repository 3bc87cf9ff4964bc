//! `federation create|update|delete|list|show|refresh`: trust domains whose bundles this server fetches.

mod relationship;
mod render;

use plastron_proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use plastron_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchDeleteFederationRelationshipRequest,
    BatchUpdateFederationRelationshipRequest, GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
    ListFederationRelationshipsResponse, RefreshBundleRequest,
};
use plastron_proto::types::Status;
use tonic::Code;
use tonic::transport::Channel;

use self::relationship::RelationshipArgs;
use crate::client::MAX_MESSAGE_LEN;
use crate::error::failed;
use crate::output::{printable, quoted};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `federation`.
#[derive(Debug, clap::Subcommand)]
pub enum FederationCommand {
    /// Creates a dynamic federation relationship with a foreign trust domain
    Create(ChangeArgs),
    /// Updates a dynamic federation relationship with a foreign trust domain
    Update(ChangeArgs),
    /// Deletes a dynamic federation relationship
    Delete(IdArgs),
    /// Lists all dynamic federation relationships
    List(ListArgs),
    /// Shows a dynamic federation relationship
    Show(ShowArgs),
    /// Refreshes the bundle from the specified federated trust domain
    Refresh(IdArgs),
}

/// Flags of `federation create` and `federation update`.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    common: ListArgs,
    #[command(flatten)]
    relationship: RelationshipArgs,
}

/// Flags of `federation delete` and `federation refresh`.
#[derive(Debug, clap::Args)]
pub struct IdArgs {
    #[command(flatten)]
    common: ListArgs,
    /// SPIFFE ID of the trust domain
    #[arg(long, default_value = "")]
    id: String,
}

/// Flags of `federation list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `federation show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    common: ListArgs,
    /// The trust domain name of the federation relationship to show
    #[arg(long = "trustDomain", default_value = "")]
    trust_domain: String,
}

impl FederationCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::Create(args) => create(args, io).await,
            Self::Update(args) => update(args, io).await,
            Self::Delete(args) => delete(args, io).await,
            Self::List(args) => list(args, io).await,
            Self::Show(args) => show(args, io).await,
            Self::Refresh(args) => refresh(args, io).await,
        }
    }
}

impl ListArgs {
    async fn client(&self, io: &Io<'_>) -> Result<TrustDomainClient<Channel>, CliError> {
        let channel = self.connection.connect(&io.environment).await?;
        Ok(TrustDomainClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN))
    }
}

async fn create(args: ChangeArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let given = args.relationship.read(io)?;
    let request =
        BatchCreateFederationRelationshipRequest { federation_relationships: given.clone(), output_mask: None };
    let mut client = args.common.client(io).await?;
    let answer = client.batch_create_federation_relationship(request).await.map_err(failed("request failed"))?;
    let answer = answer.into_inner();
    if let Format::Json = args.common.output.output {
        return io.json(&answer);
    }
    let results = answer.results.into_iter().map(|result| (result.status, result.federation_relationship));
    match render::batch("create", results, given, io)? {
        Code::Ok => Ok(()),
        code => Err(CliError::Items { what: "failed to create one or more federation relationships", code }),
    }
}

async fn update(args: ChangeArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let given = args.relationship.read(io)?;
    let request = BatchUpdateFederationRelationshipRequest {
        federation_relationships: given.clone(),
        input_mask: None,
        output_mask: None,
    };
    let mut client = args.common.client(io).await?;
    let answer = client.batch_update_federation_relationship(request).await.map_err(failed("request failed"))?;
    let answer = answer.into_inner();
    if let Format::Json = args.common.output.output {
        return io.json(&answer);
    }
    let results = answer.results.into_iter().map(|result| (result.status, result.federation_relationship));
    match render::batch("update", results, given, io)? {
        Code::Ok => Ok(()),
        code => Err(CliError::Items { what: "failed to update one or more federation relationships", code }),
    }
}

async fn delete(args: IdArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let id = args.id()?;
    let deleting = "failed to delete federation relationship";
    let request = BatchDeleteFederationRelationshipRequest { trust_domains: vec![id] };
    let mut client = args.common.client(io).await?;
    let answer = client.batch_delete_federation_relationship(request).await.map_err(failed(deleting))?.into_inner();
    if let Format::Json = args.common.output.output {
        return io.json(&answer);
    }
    let result = answer.results.into_iter().next().ok_or_else(|| CliError::Malformed { reason: "no result".into() })?;
    match result.status {
        Some(status) if status.code == 0 => io.out("federation relationship deleted.\n"),
        status => Err(CliError::item(format!("{deleting} {}", quoted(&result.trust_domain)), status)),
    }
}

async fn list(args: ListArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let mut client = args.client(io).await?;
    let mut all = ListFederationRelationshipsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListFederationRelationshipsRequest { output_mask: None, page_size: 0, page_token };
        let listing = failed("error listing federation relationship");
        let page = client.list_federation_relationships(request).await.map_err(listing)?.into_inner();
        all.federation_relationships.extend(page.federation_relationships);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match args.output.output {
        Format::Json => io.json(&all),
        Format::Pretty => io.out(&render::list(&all.federation_relationships)),
    }
}

async fn show(args: ShowArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let ShowArgs { common, trust_domain } = args;
    if trust_domain.is_empty() {
        return Err(CliError::Usage("a trust domain name is required"));
    }
    let request = GetFederationRelationshipRequest { trust_domain: trust_domain.clone(), output_mask: None };
    let showing = failed("error showing federation relationship");
    let found = common.client(io).await?.get_federation_relationship(request).await.map_err(showing)?.into_inner();
    match common.output.output {
        Format::Json => io.json(&found),
        Format::Pretty => io.out(&format!(
            "Found a federation relationship with trust domain {}:\n\n{}",
            printable(&trust_domain),
            render::block(&found)
        )),
    }
}

async fn refresh(args: IdArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    let trust_domain = args.id()?;
    let unknown = format!("there is no federation relationship with trust domain {}", quoted(&trust_domain));
    match args.common.client(io).await?.refresh_bundle(RefreshBundleRequest { trust_domain }).await {
        Ok(_) => match args.common.output.output {
            Format::Json => io.json(&Status { code: 0, message: "OK".to_owned() }),
            Format::Pretty => io.out("Bundle refreshed\n"),
        },
        Err(status) if status.code() == Code::NotFound => Err(CliError::NotFound(unknown)),
        Err(status) => Err(failed("failed to refresh bundle")(status)),
    }
}

impl IdArgs {
    fn id(&self) -> Result<String, CliError> {
        if self.id.is_empty() { Err(CliError::Usage("id is required")) } else { Ok(self.id.clone()) }
    }
}
