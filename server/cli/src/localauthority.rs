//! `localauthority x509|jwt show|prepare|activate|taint|revoke`: this server's own authorities.

mod jwt;
mod x509;

use plastron_proto::spire::api::server::localauthority::v1::AuthorityState;
use plastron_proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use prost::{Message, Name};
use tonic::transport::Channel;

use crate::output::{printable, utc};
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

use jwt::JwtAuthorityCommand;
use x509::X509AuthorityCommand;

/// Kinds of authority.
#[derive(Debug, clap::Subcommand)]
pub enum LocalAuthorityCommand {
    /// Authorities that sign X.509-SVIDs
    X509 {
        /// What to do.
        #[command(subcommand)]
        command: X509AuthorityCommand,
    },
    /// Keys that sign JWT-SVIDs
    Jwt {
        /// What to do.
        #[command(subcommand)]
        command: JwtAuthorityCommand,
    },
}

/// Flags of the verbs that concern no authority in particular.
#[derive(Debug, clap::Args)]
pub struct AnyArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of the verbs that concern one authority.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The authority ID of the authority
    #[arg(long = "authorityID")]
    authority_id: Option<String>,
}

impl LocalAuthorityCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        match self {
            Self::X509 { command } => command.run(io).await,
            Self::Jwt { command } => command.run(io).await,
        }
    }
}

impl OneArgs {
    /// The authority, the rest of the flags, and the client.
    async fn open(self, io: &Io<'_>) -> Result<(String, OutputArgs, LocalAuthorityClient<Channel>), CliError> {
        let Self { connection, output, authority_id } = self;
        let authority_id =
            authority_id.filter(|id| !id.is_empty()).ok_or(CliError::Usage("an authority ID is required"))?;
        Ok((authority_id, output, client(&connection, io).await?))
    }
}

pub(crate) async fn client(
    connection: &ConnectionArgs,
    io: &Io<'_>,
) -> Result<LocalAuthorityClient<Channel>, CliError> {
    Ok(LocalAuthorityClient::new(connection.connect(&io.environment).await?))
}

/// Whether an authority can have an upstream one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    X509,
    Jwt,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        }
    }
}

/// One authority, after what became of it.
fn print_one<M: Message + Name>(
    (output, kind): (OutputArgs, Kind),
    done: &str,
    answer: &M,
    state: Option<&AuthorityState>,
    io: &mut Io<'_>,
) -> Result<(), CliError> {
    match output.output {
        Format::Json => io.json(answer),
        Format::Pretty => {
            let state = state.ok_or_else(|| CliError::Malformed { reason: "it names no authority".to_owned() })?;
            io.out(&format!("{done} {} authority:\n{}", kind.name(), block(kind, state)))
        }
    }
}

/// Active, prepared and old, as far as they are there.
fn all(kind: Kind, states: [Option<&AuthorityState>; 3]) -> String {
    let name = kind.name();
    let parts = ["Active", "Prepared", "Old"].into_iter().zip(states).map(|(label, state)| {
        let content = match state {
            Some(state) => block(kind, state),
            None => format!("  No {} {name} authority found\n", label.to_lowercase()),
        };
        format!("{label} {name} authority:\n{content}")
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn block(kind: Kind, state: &AuthorityState) -> String {
    let AuthorityState { authority_id, expires_at, upstream_authority_subject_key_id } = state;
    let mut text = format!("  Authority ID: {}\n  Expires at: {}\n", printable(authority_id), utc(*expires_at));
    match (kind, upstream_authority_subject_key_id.as_str()) {
        (Kind::Jwt, _) => {}
        (Kind::X509, "") => text.push_str("  Upstream authority ID: No upstream authority\n"),
        (Kind::X509, id) => text.push_str(&format!("  Upstream authority Subject Key ID: {}\n", printable(id))),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_spires_text() {
        let state = |upstream: &str| AuthorityState {
            authority_id: "ab12".into(),
            expires_at: 1_767_366_245,
            upstream_authority_subject_key_id: upstream.into(),
        };
        let (plain, below) = (state(""), state("cd34"));
        assert_eq!(
            all(Kind::X509, [Some(&plain), Some(&below), None]),
            "Active X.509 authority:\n  Authority ID: ab12\n  Expires at: 2026-01-02 15:04:05 +0000 UTC\n  \
             Upstream authority ID: No upstream authority\n\nPrepared X.509 authority:\n  Authority ID: ab12\n  \
             Expires at: 2026-01-02 15:04:05 +0000 UTC\n  Upstream authority Subject Key ID: cd34\n\n\
             Old X.509 authority:\n  No old X.509 authority found\n"
        );
        assert_eq!(
            all(Kind::Jwt, [Some(&below), None, Some(&plain)]),
            "Active JWT authority:\n  Authority ID: ab12\n  Expires at: 2026-01-02 15:04:05 +0000 UTC\n\n\
             Prepared JWT authority:\n  No prepared JWT authority found\n\n\
             Old JWT authority:\n  Authority ID: ab12\n  Expires at: 2026-01-02 15:04:05 +0000 UTC\n"
        );
    }
}
