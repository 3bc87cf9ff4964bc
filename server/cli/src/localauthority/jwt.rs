//! `localauthority jwt …`

use plastron_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest, RevokeJwtAuthorityRequest,
    TaintJwtAuthorityRequest,
};

use super::{AnyArgs, Kind, OneArgs, all, client, print_one};
use crate::error::failed;
use crate::{CliError, Format, Io};

/// Verbs of `localauthority jwt`.
#[derive(Debug, clap::Subcommand)]
pub enum JwtAuthorityCommand {
    /// Shows the local JWT authorities
    Show(AnyArgs),
    /// Prepares a new JWT authority: a new key, in the bundle
    Prepare(AnyArgs),
    /// Activates a prepared JWT authority: it signs every JWT-SVID of this server from now on
    Activate(OneArgs),
    /// Marks the previously active JWT authority as being tainted: whatever it signed is replaced
    Taint(OneArgs),
    /// Revokes the previously active JWT authority: it leaves the bundle, and whatever it signed is worth nothing
    Revoke(OneArgs),
}

impl JwtAuthorityCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::Show(AnyArgs { connection, output }) => {
                let mut client = client(&connection, io).await?;
                let answer = client.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await?.into_inner();
                match output.output {
                    Format::Json => io.json(&answer),
                    Format::Pretty => {
                        let states = [&answer.active, &answer.prepared, &answer.old].map(Option::as_ref);
                        io.out(&all(Kind::Jwt, states))
                    }
                }
            }
            Self::Prepare(AnyArgs { connection, output }) => {
                let mut client = client(&connection, io).await?;
                let answer = client.prepare_jwt_authority(PrepareJwtAuthorityRequest {}).await;
                let answer = answer.map_err(failed("could not prepare JWT authority"))?.into_inner();
                print_one((output, Kind::Jwt), "Prepared", &answer, answer.prepared_authority.as_ref(), io)
            }
            Self::Activate(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = ActivateJwtAuthorityRequest { authority_id };
                let answer = client.activate_jwt_authority(request).await;
                let answer = answer.map_err(failed("could not activate JWT authority"))?.into_inner();
                print_one((output, Kind::Jwt), "Activated", &answer, answer.activated_authority.as_ref(), io)
            }
            Self::Taint(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = TaintJwtAuthorityRequest { authority_id };
                let answer = client.taint_jwt_authority(request).await;
                let answer = answer.map_err(failed("could not taint JWT authority"))?.into_inner();
                print_one((output, Kind::Jwt), "Tainted", &answer, answer.tainted_authority.as_ref(), io)
            }
            Self::Revoke(args) => {
                let (authority_id, output, mut client) = args.open(io).await?;
                let request = RevokeJwtAuthorityRequest { authority_id };
                let answer = client.revoke_jwt_authority(request).await;
                let answer = answer.map_err(failed("could not revoke JWT authority"))?.into_inner();
                print_one((output, Kind::Jwt), "Revoked", &answer, answer.revoked_authority.as_ref(), io)
            }
        }
    }
}
