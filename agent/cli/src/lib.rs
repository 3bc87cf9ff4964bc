//! The agent's command line: `api fetch [x509|jwt]`, `api validate jwt`, `api watch`, `healthcheck`, `logger get|set|reset`,
//! `debug getinfo`, `tpm info|fingerprint|quote|eventlog`.
//!
//! Verbs, flags, texts and JSON are SPIRE's where SPIRE has them, so that scripts and fingers keep working; flags may be written with one
//! dash or two (`plastron_daemon::go_flags`, in the program). The program parses [`Command`] beside its own `run` and `validate`, and hands it to
//! [`run`].
//!
//! This crate is a client of the Workload API and of the admin socket, and knows no TPM library: the program gives it a [`TpmSource`] where it was built with one.
//! Deliberately not yet: `doctor`.

mod admin;
mod arguments;
mod client;
mod debug;
mod duration;
mod endpoint;
mod error;
mod fetch;
mod fetch_jwt;
mod files;
mod healthcheck;
mod logger;
mod print;
mod svid;
mod tpm;
mod validate_jwt;
mod watch;

use std::io::{Read, Write};

use clap::{Args, Subcommand};

pub use crate::client::{WorkloadApiClient, connect};
pub use crate::debug::Debug;
pub use crate::duration::{GoDuration, parse_duration};
pub use crate::endpoint::{AddressError, DEFAULT_SOCKET, Endpoint, Environment};
pub use crate::error::{CliError, EXIT_DENIED, EXIT_FAILURE, EXIT_NOT_FOUND, EXIT_UNTRUSTED, EXIT_USAGE};
pub use crate::logger::Logger;
pub use crate::tpm::{TpmProperties, TpmSource};

/// The commands that talk to a running agent or to the TPM.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Call the Workload API as this process
    #[command(subcommand)]
    Api(Api),
    /// Ask the agent whether it is healthy
    #[command(alias = "health")]
    Healthcheck(healthcheck::Healthcheck),
    /// The log level of a running agent
    #[command(subcommand)]
    Logger(Logger),
    /// What a running agent says about itself
    #[command(subcommand)]
    Debug(Debug),
    /// What a technician needs at the rack
    #[command(subcommand)]
    Tpm(tpm::Tpm),
}

/// The verbs of `api`.
#[derive(Debug, Subcommand)]
pub enum Api {
    /// Fetch SVIDs once
    #[command(args_conflicts_with_subcommands = true)]
    Fetch(Fetch),
    /// Have SVIDs validated
    #[command(subcommand)]
    Validate(Validate),
    /// Print X.509-SVIDs, now and after every change
    Watch(watch::Watch),
}

/// `api fetch`: without a kind it fetches X.509-SVIDs.
#[derive(Debug, Args)]
pub struct Fetch {
    #[command(subcommand)]
    kind: Option<FetchKind>,
    #[command(flatten)]
    x509: fetch::FetchX509,
}

#[derive(Debug, Subcommand)]
enum FetchKind {
    /// X.509-SVIDs with their keys and bundles
    X509(fetch::FetchX509),
    /// JWT-SVIDs and the bundles that verify them
    Jwt(fetch_jwt::FetchJwt),
}

/// What `api validate` validates.
#[derive(Debug, Subcommand)]
pub enum Validate {
    /// A JWT-SVID
    #[command(name = "jwt")]
    Jwt(JwtValidation),
}

/// `api validate jwt`.
#[derive(Debug, Args)]
pub struct JwtValidation {
    #[command(flatten)]
    flags: validate_jwt::ValidateJwt,
}

/// What a command needs of the world around it.
pub struct Context<'a> {
    /// The environment variables that matter.
    pub environment: &'a Environment,
    /// The TPM back end; `None` in a build without one.
    pub tpm: Option<&'a dyn TpmSource>,
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error, for what goes wrong while a command goes on.
    pub err: &'a mut dyn Write,
}

/// Runs a command. The error's [`CliError::exit_code`] is the program's; its text, with its sources, goes to standard error.
pub async fn run(command: Command, context: Context<'_>) -> Result<(), CliError> {
    match command {
        Command::Api(Api::Fetch(Fetch { kind: Some(FetchKind::X509(arguments)), x509: _ }))
        | Command::Api(Api::Fetch(Fetch { kind: None, x509: arguments })) => fetch::run(arguments, context).await,
        Command::Api(Api::Fetch(Fetch { kind: Some(FetchKind::Jwt(arguments)), x509: _ })) => {
            fetch_jwt::run(arguments, context).await
        }
        Command::Api(Api::Validate(Validate::Jwt(JwtValidation { flags }))) => validate_jwt::run(flags, context).await,
        Command::Api(Api::Watch(arguments)) => watch::run(arguments, context).await,
        Command::Healthcheck(arguments) => healthcheck::run(arguments, context).await,
        Command::Logger(command) => logger::run(command, context).await,
        Command::Debug(command) => debug::run(command, context).await,
        Command::Tpm(arguments) => tpm::run(arguments, context),
    }
}
