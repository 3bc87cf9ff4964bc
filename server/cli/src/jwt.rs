//! `jwt mint`

use std::path::{Path, PathBuf};

use plastron_proto::spire::api::server::svid::v1::MintJwtsvidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;

use crate::arguments::{Ttl, spiffe_id, ttl};
use crate::error::failed;
use crate::files::{PRIVATE, replace};
use crate::output::printable;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `jwt`.
#[derive(Debug, clap::Subcommand)]
pub enum JwtCommand {
    /// Mints a JWT-SVID
    Mint(MintArgs),
}

/// Flags of `jwt mint`.
#[derive(Debug, clap::Args)]
pub struct MintArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// SPIFFE ID of the JWT-SVID
    #[arg(long = "spiffeID")]
    spiffe_id: Option<String>,
    /// TTL of the JWT-SVID
    #[arg(long, default_value = "0s", value_parser = ttl)]
    ttl: Ttl,
    /// Audience claim that will be included in the SVID. Can be used more than once.
    #[arg(long)]
    audience: Vec<String>,
    /// File to write token to instead of stdout
    #[arg(long)]
    write: Option<PathBuf>,
}

impl JwtCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Self::Mint(MintArgs { connection, output, spiffe_id: text, ttl, audience, write }) = self;
        let text = text.filter(|text| !text.is_empty()).ok_or(CliError::Usage("spiffeID must be specified"))?;
        if audience.is_empty() {
            return Err(CliError::Usage("at least one audience must be specified"));
        }
        let id = Some(spiffe_id("SPIFFE ID", &text)?);
        let request = MintJwtsvidRequest { id, audience, ttl: ttl.0 };
        let channel = connection.connect(&io.environment).await?;
        let minted =
            SvidClient::new(channel).mint_jwtsvid(request).await.map_err(failed("unable to mint SVID"))?.into_inner();
        let svid = minted
            .svid
            .as_ref()
            .filter(|svid| !svid.token.is_empty())
            .ok_or_else(|| CliError::Malformed { reason: "it has no token".to_owned() })?;
        if svid.expires_at.saturating_sub(svid.issued_at) < i64::from(ttl.0) {
            let expires = crate::output::rfc3339(svid.expires_at);
            io.err(&format!("JWT-SVID lifetime was capped shorter than specified ttl; expires \"{expires}\"\n"))?;
        }
        match (write, output.output) {
            (Some(path), _) => written(&path, &svid.token, io),
            (None, Format::Json) => io.json(&minted),
            (None, Format::Pretty) => io.out(&format!("{}\n", printable(&svid.token))),
        }
    }
}

fn written(path: &Path, token: &str, io: &mut Io<'_>) -> Result<(), CliError> {
    replace(path, PRIVATE, token.as_bytes())?;
    io.out(&format!("JWT-SVID written to {}\n", path.display()))
}
