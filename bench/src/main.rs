#![doc = include_str!("../README.md")]

mod appraise;
mod attest;
mod client;
mod commits;
mod cpu;
mod error;
mod event_log;
mod figures;
mod jwt;
mod memory;
mod overload;
mod server;
mod sign;
mod svid;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use error::BenchError;

#[derive(Parser)]
#[command(name = "plastron-bench", about = "Measures Plastron on this machine")]
struct Arguments {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    what: Vec<What>,
    /// Pairs of every comparison.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each measurement in a round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Quote appraisals beside raw signature verification.
    Appraise,
    /// Event logs parsed, replayed and understood.
    EventLog,
    /// X.509-SVIDs through gRPC beside raw signing, and a token that is asked for more than it can sign.
    Svid,
    /// JWT-SVIDs through gRPC beside raw signing.
    Jwt,
    /// Attestations: CPU and commits.
    Attest,
    /// Calls of the Workload API: CPU of the agent.
    Workload,
    /// Memory of server and agent at rest.
    Memory,
}

#[derive(Subcommand)]
enum Inner {
    /// Signs with the key of a store, for a process that measures.
    #[command(name = "__sign", hide = true)]
    Sign(sign::SignArguments),
}

/// How long everything takes.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u32,
    seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plastron-bench: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let Arguments { what, rounds, seconds, inner } = arguments;
    let runtime = tokio::runtime::Runtime::new().map_err(BenchError::io("start the runtime"))?;
    if let Some(Inner::Sign(sign)) = inner {
        return runtime.block_on(sign::run(sign));
    }
    let effort = Effort { rounds: (*rounds).max(1), seconds: (*seconds).max(1) };
    let wanted = |one| what.is_empty() || what.contains(&one);
    if wanted(What::Appraise) {
        appraise::run(effort)?;
    }
    if wanted(What::EventLog) {
        event_log::run(effort)?;
    }
    if wanted(What::Svid) {
        runtime.block_on(svid::run(effort))?;
    }
    if wanted(What::Jwt) {
        runtime.block_on(jwt::run(effort))?;
    }
    if wanted(What::Attest) {
        runtime.block_on(attest::run())?;
    }
    if wanted(What::Workload) {
        runtime.block_on(workload::run(effort))?;
    }
    if wanted(What::Memory) {
        runtime.block_on(memory::run())?;
    }
    Ok(())
}
