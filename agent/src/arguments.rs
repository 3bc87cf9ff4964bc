//! The command line: `run` and `validate` with SPIRE's flags, and the client commands of `agent/cli`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// SPIRE's default, relative to the working directory.
pub(crate) const DEFAULT_CONFIG: &str = "conf/agent/agent.conf";

/// Proves this machine to the server with its TPM, and gives workloads their SPIFFE identities.
#[derive(Debug, Parser)]
#[command(name = "plastron-agent", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent
    Run(Overrides),
    /// Check a configuration file without starting
    Validate(Overrides),
    #[command(flatten)]
    Client(plastron_agent_cli::Command),
}

/// What `run` and `validate` take over from the command line: a flag wins over the file.
#[derive(Debug, Default, Args)]
pub(crate) struct Overrides {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    /// Replace ${VARIABLES} in the configuration file
    #[arg(long = "expandEnv")]
    pub(crate) expand_env: bool,
    /// Refuse everything that is only warned of
    #[arg(long)]
    pub(crate) strict: bool,
    /// Give the trust domain's bundle to local processes that have no identity, too
    #[arg(long = "allowUnauthenticatedVerifiers")]
    pub(crate) allow_unauthenticated_verifiers: bool,
    /// Where the agent keeps its state
    #[arg(long = "dataDir", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Do not serve Envoy's SDS
    #[arg(long = "disableSDSAPI")]
    pub(crate) disable_sds_api: bool,
    /// Do not serve the SPIFFE Workload API
    #[arg(long = "disableWorkloadAPI")]
    pub(crate) disable_workload_api: bool,
    /// A join token, for a first attestation. Every user of the machine sees it in the list of processes: prefer -joinTokenFile
    #[arg(long = "joinToken", value_name = "TOKEN")]
    pub(crate) join_token: Option<String>,
    /// A file that holds a join token
    #[arg(long = "joinTokenFile", value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Log to this file
    #[arg(long = "logFile", value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// text or json
    #[arg(long = "logFormat", value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// DEBUG, INFO, WARN or ERROR
    #[arg(long = "logLevel", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Name the place in the source in each line of the log
    #[arg(long = "logSourceLocation")]
    pub(crate) log_source_location: bool,
    /// Name or address of the server
    #[arg(long = "serverAddress", value_name = "HOST")]
    pub(crate) server_address: Option<String>,
    /// Port of the server
    #[arg(long = "serverPort", value_name = "PORT")]
    pub(crate) server_port: Option<u16>,
    /// Where workloads find the Workload API
    #[arg(long = "socketPath", value_name = "PATH")]
    pub(crate) socket_path: Option<PathBuf>,
    /// never, auto or always: ask again whom to believe when the server is no longer one that the bundle leads to
    #[arg(long = "rebootstrapMode", value_name = "MODE")]
    pub(crate) rebootstrap_mode: Option<String>,
    /// For how long the server must have been such a one
    #[arg(long = "rebootstrapDelay", value_name = "DURATION")]
    pub(crate) rebootstrap_delay: Option<String>,
    /// The bundle that verifies the server at first
    #[arg(long = "trustBundle", value_name = "FILE")]
    pub(crate) trust_bundle: Option<PathBuf>,
    /// pem or spiffe
    #[arg(long = "trustBundleFormat", value_name = "FORMAT")]
    pub(crate) trust_bundle_format: Option<String>,
    /// Where that bundle is fetched from
    #[arg(long = "trustBundleUrl", value_name = "URL")]
    pub(crate) trust_bundle_url: Option<String>,
    /// The trust domain
    #[arg(long = "trustDomain", value_name = "NAME")]
    pub(crate) trust_domain: Option<String>,
    /// Refused: the server is always verified
    #[arg(long = "insecureBootstrap")]
    pub(crate) insecure_bootstrap: bool,
    /// Ignored, as Go's flag package ignores what stands after the flags
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) _ignored: Vec<OsString>,
}

/// The program's command line; as in Go, the last of two flags counts.
pub(crate) fn program() -> clap::Command {
    Arguments::command().args_override_self(true)
}

/// SPIRE's spelling of flags, with one dash, as ours.
pub(crate) fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    plastron_daemon::go_flags::normalise(arguments, &program())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(line: &str) -> Overrides {
        let arguments = normalise(line.split(' ').map(Into::into));
        match Arguments::try_parse_from(arguments).unwrap().command {
            Command::Run(overrides) | Command::Validate(overrides) => overrides,
            Command::Client(_) => panic!("{line}"),
        }
    }

    #[test]
    fn spires_spelling_and_ours() {
        let run = overrides("plastron-agent run -config a.conf -joinToken abc -serverPort 8443 -expandEnv=true");
        assert_eq!(run.config, PathBuf::from("a.conf"));
        assert_eq!(run.join_token.as_deref(), Some("abc"));
        assert_eq!(run.server_port, Some(8443));
        assert!(run.expand_env);
        assert_eq!(overrides("plastron-agent validate --config=b.conf").config, PathBuf::from("b.conf"));
    }

    #[test]
    fn without_the_dash_the_default_file_is_read() {
        assert_eq!(overrides("plastron-agent run config a.conf").config, PathBuf::from(DEFAULT_CONFIG));
    }
}
