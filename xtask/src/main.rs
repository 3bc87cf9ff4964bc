//! The workspace's own tools: `cargo xtask tidy` holds the house rules that no compiler knows, `cargo xtask proto` generates
//! the code of the interfaces, `cargo xtask record-evidence` has TPMs say what tests replay. It is never part of a program.

mod proto;
mod record_evidence;
mod threats;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Layering, generated code, recorded evidence")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks layers, dependencies, files and documents, and names every fault.
    Tidy,
    /// Writes into docs/threat-model.md which tests are of which threat.
    Threats,
    /// Records conversations of real TPMs (swtpm) for the tests that replay them.
    RecordEvidence {
        /// Where to; attestation/tests/evidence if nothing is named.
        folder: Option<PathBuf>,
        /// Only this scene; what is recorded of other machines stays. The recorder names its scenes.
        #[arg(long)]
        scene: Option<String>,
    },
    /// Generates proto/src/gen from the .proto files.
    Proto {
        /// Only compare with what is checked in.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let root = workspace_root();
    match Arguments::parse().command {
        Command::Tidy => run_tidy(&root),
        Command::Threats => match threats::write(&root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::RecordEvidence { folder, scene } => {
            match record_evidence::record(&root, folder.as_deref(), scene.as_deref()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
        Command::Proto { check } => {
            let mode = if check { proto::Mode::Check } else { proto::Mode::Write };
            match proto::generate(&root, mode) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
    }
}

fn run_tidy(root: &Path) -> ExitCode {
    match tidy::check(root) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in &faults {
                eprintln!("{fault}");
            }
            eprintln!("tidy: {} faults", faults.len());
            ExitCode::FAILURE
        }
        Err(error) => failed(&error),
    }
}

/// The folder above this crate's: tests and `cargo run` both know it.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
