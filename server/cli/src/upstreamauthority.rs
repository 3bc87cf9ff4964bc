//! `upstreamauthority taint|revoke`: the root above this server's old X.509 authority.

use plastron_proto::spire::api::server::localauthority::v1::{
    RevokeX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityRequest,
};

use crate::error::failed;
use crate::localauthority::client;
use crate::output::printable;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `upstreamauthority`.
#[derive(Debug, clap::Subcommand)]
pub enum UpstreamAuthorityCommand {
    /// Marks the provided X.509 upstream authority as being tainted
    Taint(UpstreamArgs),
    /// Revokes the previously active X.509 upstream authority: it leaves the bundle
    Revoke(UpstreamArgs),
}

/// Flags of both verbs.
#[derive(Debug, clap::Args)]
pub struct UpstreamArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The X.509 Subject Key Identifier (or SKID) of the CA certificate of the upstream X.509 authority
    #[arg(long = "subjectKeyID")]
    subject_key_id: Option<String>,
}

impl UpstreamArgs {
    fn subject_key_id(&self) -> Result<String, CliError> {
        let required = CliError::Usage("the Subject Key ID of the X.509 upstream authority is required");
        self.subject_key_id.clone().filter(|id| !id.is_empty()).ok_or(required)
    }
}

impl UpstreamAuthorityCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let (id, done) = match self {
            Self::Taint(args) => {
                let request = TaintX509UpstreamAuthorityRequest { subject_key_id: args.subject_key_id()? };
                let mut client = client(&args.connection, io).await?;
                let answer = client.taint_x509_upstream_authority(request).await;
                let answer = answer.map_err(failed("could not taint X.509 upstream authority"))?.into_inner();
                if args.output.output == Format::Json {
                    return io.json(&answer);
                }
                (answer.upstream_authority_subject_key_id, "Tainted")
            }
            Self::Revoke(args) => {
                let request = RevokeX509UpstreamAuthorityRequest { subject_key_id: args.subject_key_id()? };
                let mut client = client(&args.connection, io).await?;
                let answer = client.revoke_x509_upstream_authority(request).await;
                let answer = answer.map_err(failed("could not revoke X.509 upstream authority"))?.into_inner();
                if args.output.output == Format::Json {
                    return io.json(&answer);
                }
                (answer.upstream_authority_subject_key_id, "Revoked")
            }
        };
        io.out(&format!("{done} X.509 upstream authority:\n  Subject Key ID: {}\n", printable(&id)))
    }
}
