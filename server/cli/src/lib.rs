//! The server's command line: a client of the admin API on the server's Unix socket.
//!
//! Nouns, verbs, flags, labels and JSON are SPIRE's, because people's fingers and scripts know them; so are single-dash flags
//! (`plastron_daemon::go_flags`, in the program). What is ours: exit codes that tell failures apart (`CliError::exit_code`), a deadline on every call, and control
//! characters that a node or a workload wrote are escaped before a person reads them.
//! It decides nothing: whoever may open the socket is the server's `local` caller.

mod agent;
mod arguments;
mod bundle;
mod client;
mod debug;
mod entry;
mod error;
mod federation;
mod files;
mod healthcheck;
mod hsm;
mod jwt;
mod localauthority;
mod logger;
mod output;
mod token;
mod tpm;
mod upstreamauthority;
mod x509;

pub use agent::AgentCommand;
pub use arguments::{go_duration, go_duration_or_zero};
pub use bundle::BundleCommand;
pub use client::{ConnectionArgs, Environment};
pub use debug::DebugCommand;
pub use entry::EntryCommand;
pub use error::CliError;
pub use federation::FederationCommand;
pub use healthcheck::HealthcheckArgs;
pub use hsm::HsmCommand;
pub use jwt::JwtCommand;
pub use localauthority::LocalAuthorityCommand;
pub use logger::LoggerCommand;
pub use output::{Format, Io, OutputArgs};
pub use token::TokenCommand;
pub use tpm::TpmCommand;
pub use upstreamauthority::UpstreamAuthorityCommand;
pub use x509::X509Command;

/// The commands that talk to a running server.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Join tokens, which admit one node each
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Registration entries: who may have which SPIFFE ID
    Entry {
        /// What to do.
        #[command(subcommand)]
        command: EntryCommand,
    },
    /// Agents: the nodes that attested
    Agent {
        /// What to do.
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// Keys in the key manager
    Hsm {
        /// What to do.
        #[command(subcommand)]
        command: HsmCommand,
    },
    /// TPMs that wait for a person
    Tpm {
        /// What to do.
        #[command(subcommand)]
        command: TpmCommand,
    },
    /// Bundles: what SVIDs are verified against
    Bundle {
        /// What to do.
        #[command(subcommand)]
        command: BundleCommand,
    },
    /// Trust domains whose bundles this server fetches
    Federation {
        /// What to do.
        #[command(subcommand)]
        command: FederationCommand,
    },
    /// The log level of a running server
    Logger {
        /// What to do.
        #[command(subcommand)]
        command: LoggerCommand,
    },
    /// X.509-SVIDs for whom no agent serves
    X509 {
        /// What to do.
        #[command(subcommand)]
        command: X509Command,
    },
    /// JWT-SVIDs for whom no agent serves
    Jwt {
        /// What to do.
        #[command(subcommand)]
        command: JwtCommand,
    },
    /// This server's own authorities: the keys that it signs with
    #[command(name = "localauthority")]
    LocalAuthority {
        /// What to do.
        #[command(subcommand)]
        command: LocalAuthorityCommand,
    },
    /// The authority above this server's own
    #[command(name = "upstreamauthority")]
    UpstreamAuthority {
        /// What to do.
        #[command(subcommand)]
        command: UpstreamAuthorityCommand,
    },
    /// What a running server says about itself
    Debug {
        /// What to do.
        #[command(subcommand)]
        command: DebugCommand,
    },
    /// Determine server health status
    Healthcheck(HealthcheckArgs),
}

/// Runs one command. What it prints goes to `io`; the error is for the caller to print and to turn into an exit code.
pub async fn run(command: Command, io: &mut Io<'_>) -> Result<(), CliError> {
    match command {
        Command::Token { command } => command.run(io).await,
        Command::Entry { command } => command.run(io).await,
        Command::Agent { command } => command.run(io).await,
        Command::Hsm { command } => command.run(io).await,
        Command::Tpm { command } => command.run(io).await,
        Command::Bundle { command } => command.run(io).await,
        Command::Federation { command } => command.run(io).await,
        Command::Logger { command } => command.run(io).await,
        Command::X509 { command } => command.run(io).await,
        Command::Jwt { command } => command.run(io).await,
        Command::LocalAuthority { command } => command.run(io).await,
        Command::UpstreamAuthority { command } => command.run(io).await,
        Command::Debug { command } => command.run(io).await,
        Command::Healthcheck(args) => args.run(io).await,
    }
}

/// A failure on one line, with its causes, for standard error.
pub fn describe(error: &CliError) -> String {
    let mut text = error.to_string();
    // A status stands in the text already, and so does what is no SPIFFE ID.
    if matches!(error, CliError::Rpc(_) | CliError::Call { .. } | CliError::SpiffeId { .. }) {
        return text;
    }
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
