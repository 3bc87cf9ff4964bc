//! The Plastron server: a certificate authority for nodes and workloads, wire-compatible with SPIRE's server.
//!
//! `audit` lays the audit log over the program's log, `log_level` its level, `config` reads the file, `catalog` is the list of back ends, `run` assembles and serves; every other command is a client of a
//! running server (`server/cli`).

mod audit;
mod catalog;
mod config;
mod log_level;
mod run;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use plastron_daemon::config::explain;
use plastron_daemon::{go_flags, process};
use plastron_server_cli::{Environment, Io};

use config::Flags;

#[derive(Parser)]
#[command(
    name = "plastron-server",
    about = "Identities for machines and workloads, rooted in hardware",
    disable_version_flag = true
)]
enum Command {
    /// Run the server
    Run(Flags),
    /// Validate a server configuration file
    Validate(Flags),
    #[command(flatten)]
    Client(plastron_server_cli::Command),
}

fn main() -> ExitCode {
    process::restrict_umask();
    process::raise_file_limit();
    process::install_crypto();
    // As in Go, the last of two flags counts.
    let program = Command::command().args_override_self(true);
    let arguments: Vec<OsString> = go_flags::normalise(std::env::args_os(), &program);
    if arguments.get(1).is_some_and(|first| first == "--version" || first == "-v") {
        return print(&format!("{}\n", env!("CARGO_PKG_VERSION")));
    }
    let command = Command::from_arg_matches(&program.get_matches_from(arguments)).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    match command {
        Command::Run(flags) => run_server(&runtime, &flags),
        Command::Validate(flags) => validate(&flags),
        Command::Client(command) => runtime.block_on(client(command)),
    }
}

fn run_server(runtime: &tokio::runtime::Runtime, flags: &Flags) -> ExitCode {
    let settings = match config::load(flags) {
        Ok(settings) => settings,
        Err(error) => return fail(&explain(&error)),
    };
    let log = match plastron_daemon::logging::start(&settings.log) {
        Ok(log) => log,
        Err(error) => return fail(&explain(&error)),
    };
    match runtime.block_on(run::run(settings, log)) {
        Ok(()) => {
            tracing::info!("Server stopped gracefully");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = explain(&error), "Server crashed");
            ExitCode::FAILURE
        }
    }
}

fn validate(flags: &Flags) -> ExitCode {
    let checked = config::load(flags).map_err(|error| explain(&error)).and_then(|settings| {
        settings.catalog.check().map_err(|error| explain(&error))?;
        settings.federation.check().map_err(|error| explain(&error))?;
        Ok(settings)
    });
    match checked {
        Ok(settings) => {
            for warning in &settings.warnings {
                complain(&format!("Warning: {warning}"));
            }
            print("SPIRE server configuration file is valid.\n")
        }
        Err(reason) => fail(&format!("SPIRE server configuration file is invalid: {reason}")),
    }
}

async fn client(command: plastron_server_cli::Command) -> ExitCode {
    let (mut input, mut out, mut err) = (io::stdin(), io::stdout(), io::stderr());
    let environment = Environment::read();
    let mut io = Io { input: &mut input, out: &mut out, err: &mut err, environment };
    match plastron_server_cli::run(command, &mut io).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("Error: {}", plastron_server_cli::describe(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    complain(text);
    ExitCode::FAILURE
}

/// Where standard error is closed there is nobody to tell.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
