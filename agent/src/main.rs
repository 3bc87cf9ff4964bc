//! The Plastron agent: proves its machine to the server, and gives workloads on the machine their SPIFFE identities.
//!
//! This file reads the command line and says how the process ends; `run.rs` assembles, `catalog.rs` chooses back ends.

mod admin;
mod arguments;
mod catalog;
mod config;
mod run;
mod tpm;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use plastron_agent_cli::{Context, Environment};
use plastron_daemon::config::explain;
use plastron_daemon::process;

use crate::arguments::{Arguments, Command, Overrides};
use crate::run::RunError;

fn main() -> ExitCode {
    let given: Vec<_> = std::env::args_os().collect();
    if matches!(given.get(1).and_then(|first| first.to_str()), Some("-v" | "-version" | "--version")) {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let matches = arguments::program().get_matches_from(arguments::normalise(given));
    match Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Run(overrides) => run(&overrides),
        Command::Validate(overrides) => validate(&overrides),
        Command::Client(command) => client(command),
    }
}

fn run(overrides: &Overrides) -> ExitCode {
    process::restrict_umask();
    process::raise_file_limit();
    process::install_crypto();
    match runtime().map_err(RunError::Runtime).and_then(|runtime| runtime.block_on(run::run(overrides))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plastron-agent: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn validate(overrides: &Overrides) -> ExitCode {
    match run::read(overrides) {
        Ok((config, _)) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            println!("SPIRE agent configuration file is valid.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("SPIRE agent configuration file is invalid: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn client(command: plastron_agent_cli::Command) -> ExitCode {
    process::install_crypto();
    let environment = Environment::from_lookup(|name| std::env::var(name).ok());
    let (mut input, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let tpm = tpm::source();
    let context = Context { environment: &environment, tpm, input: &mut input, out: &mut out, err: &mut err };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("plastron-agent: {}", explain(&RunError::Runtime(error)));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(plastron_agent_cli::run(command, context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
