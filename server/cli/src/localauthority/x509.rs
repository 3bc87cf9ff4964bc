//! `localauthority x509 …`

use plastron_proto::spire::api::server::localauthority::v1::{
    ActivateX509AuthorityRequest, GetX509AuthorityStateRequest, PrepareX509AuthorityRequest,
    RevokeX509AuthorityRequest, TaintX509AuthorityRequest,
};

use super::{AnyArgs, Kind, OneArgs, all, client, print_one};
use crate::error::failed;
use crate::{CliError, Format, Io};

/// Verbs of `localauthority x509`.
#[derive(Debug, clap::Subcommand)]
pub enum X509AuthorityCommand {
    /// Shows the local X.509 authorities
    Show(AnyArgs),
    /// Prepares a new X.509 authority: a new key, and its CA certificate in the bundle
    Prepare(AnyArgs),
    /// Activates a prepared X.509 authority: it signs every X.509-SVID of this server from now on
    Activate(OneArgs),
    /// Marks the previously active X.509 authority as being tainted: whatever it signed is replaced
    Taint(OneArgs),
    /// Revokes the previously active X.509 authority: it leaves the bundle, and whatever it signed is worth nothing
    Revoke(OneArgs),
}

impl X509AuthorityCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::Show(AnyArgs { connection, output }) => {
                let mut client = client(&connection, io).await?;
                let answer = client.get_x509_authority_state(GetX509AuthorityStateRequest {}).await;
                let answer = answer.map_err(failed("could not get X.509 authorities"))?.into_inner();
                match output.output {
                    Format::Json => io.json(&answer),
                    Format::Pretty => {
                        let states = [&answer.active, &answer.prepared, &answer.old].map(Option::as_ref);
                        io.out(&all(Kind::X509, states))
                    }
                }
            }
            Self::Prepare(AnyArgs { connection, output }) => {
                let mut client = client(&connection, io).await?;
                let answer = client.prepare_x509_authority(PrepareX509AuthorityRequest {}).await;
                let answer = answer.map_err(failed("could not prepare X.509 authority"))?.into_inner();
                print_one((output, Kind::X509), "Prepared", &answer, answer.prepared_authority.as_ref(), io)
            }
            Self::Activate(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = ActivateX509AuthorityRequest { authority_id };
                let answer = client.activate_x509_authority(request).await;
                let answer = answer.map_err(failed("could not activate X.509 authority"))?.into_inner();
                print_one((output, Kind::X509), "Activated", &answer, answer.activated_authority.as_ref(), io)
            }
            Self::Taint(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = TaintX509AuthorityRequest { authority_id };
                let answer = client.taint_x509_authority(request).await;
                let answer = answer.map_err(failed("could not taint X.509 authority"))?.into_inner();
                print_one((output, Kind::X509), "Tainted", &answer, answer.tainted_authority.as_ref(), io)
            }
            Self::Revoke(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = RevokeX509AuthorityRequest { authority_id };
                let answer = client.revoke_x509_authority(request).await;
                let answer = answer.map_err(failed("could not revoke X.509 authority"))?.into_inner();
                print_one((output, Kind::X509), "Revoked", &answer, answer.revoked_authority.as_ref(), io)
            }
        }
    }
}
