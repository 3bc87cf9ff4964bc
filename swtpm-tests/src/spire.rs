//! SPIRE's own programs as processes, where the environment names them: `SPIRE_SERVER_BIN` and `SPIRE_AGENT_BIN`.

mod agent;
mod server;

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::HarnessError;
use crate::tool::run;

pub use agent::SpireAgent;
pub use server::{SpireServer, SpireServerOptions};

/// Where SPIRE's programs are.
#[derive(Clone, Debug)]
pub struct Spire {
    server: PathBuf,
    agent: PathBuf,
}

impl Spire {
    /// The programs that the environment names. Where it names none there is nothing to compare with, and standard error says so
    /// past the capture of the test runner: a test that did not run must not look like one that passed.
    pub fn from_env() -> Option<Self> {
        let named = |name: &str| {
            let path = env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
            if path.is_none() {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                // Standard error that can't be written has no reader who could be misled.
                let _ = writeln!(std::io::stderr(), "NOT RUN: {name} is not set, so {test} proves nothing");
            }
            path
        };
        Some(Self { server: named("SPIRE_SERVER_BIN")?, agent: named("SPIRE_AGENT_BIN")? })
    }

    /// `spire-server`, for a test that runs it in its own way.
    pub fn server_program(&self) -> &Path {
        &self.server
    }

    /// `spire-agent`, for the same.
    pub fn agent_program(&self) -> &Path {
        &self.agent
    }

    /// Runs `spire-server` with these arguments on an admin socket, ours or SPIRE's; any other exit code than 0 is an error.
    pub fn server_cli(&self, socket: &Path, arguments: &[&str]) -> Result<Output, HarnessError> {
        run(Command::new(&self.server).args(arguments).arg("-socketPath").arg(socket))
    }

    /// The same with `spire-agent`, on a Workload API or admin socket.
    pub fn agent_cli(&self, socket: &Path, arguments: &[&str]) -> Result<Output, HarnessError> {
        run(Command::new(&self.agent).args(arguments).arg("-socketPath").arg(socket))
    }
}
