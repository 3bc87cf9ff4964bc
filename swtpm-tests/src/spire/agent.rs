//! SPIRE's agent.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Spire;
use crate::testbed::{START_TIMEOUT, STOP_TIMEOUT, bundle_line, own_directory, write};
use crate::{Attestor, HarnessError, Process, Upstream};

/// A running `spire-agent` with the `unix` attestor and its key on disk.
pub struct SpireAgent {
    // Before the directory, so that the process ends before its files go.
    process: Process,
    directory: TempDir,
    spire: Spire,
    join_token: Option<String>,
}

impl SpireAgent {
    /// Starts an agent and waits until it is attested and serves workloads.
    pub fn start(spire: &Spire, upstream: &Upstream<'_>, attestor: &Attestor<'_>) -> Result<Self, HarnessError> {
        let mut agent = Self::start_without_waiting(spire, upstream, attestor)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts an agent whose attestation may fail.
    pub fn start_without_waiting(
        spire: &Spire,
        upstream: &Upstream<'_>,
        attestor: &Attestor<'_>,
    ) -> Result<Self, HarnessError> {
        let directory = own_directory("spire-agent-")?;
        write(&directory.path().join("agent.conf"), &config(directory.path(), upstream, attestor)?)?;
        let join_token = match attestor {
            Attestor::JoinToken(token) => Some(token.clone()),
            _ => None,
        };
        let process = spawn(spire, directory.path(), join_token.as_deref())?;
        Ok(Self { process, directory, spire: spire.clone(), join_token })
    }

    /// Waits until it is attested and serves workloads.
    pub fn wait_until_ready(&mut self) -> Result<(), HarnessError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.cli(&["healthcheck"]).is_err() {
            if Instant::now() >= deadline || !self.process.is_running() {
                // What it printed last arrives after its end.
                let _ = self.process.wait(Duration::from_millis(200));
                let (what, log) = ("a healthy spire-agent".to_owned(), self.process.log());
                return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The socket of the Workload API and of SDS.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("public/agent.sock")
    }

    /// The socket of the Debug, Delegated Identity and Logger APIs.
    pub fn admin_socket(&self) -> PathBuf {
        self.directory.path().join("admin/admin.sock")
    }

    /// Runs `spire-agent` with these arguments on its Workload API socket.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        self.spire.agent_cli(&self.socket(), arguments)
    }

    /// Its process: log, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM, and waits until it has drained.
    pub fn terminate(&mut self) -> Result<ExitStatus, HarnessError> {
        self.process.terminate(STOP_TIMEOUT)
    }

    /// Starts it again with the same files, where it may fail or take longer.
    pub fn start_again_without_waiting(&mut self) -> Result<(), HarnessError> {
        self.process = spawn(&self.spire, self.directory.path(), self.join_token.as_deref())?;
        Ok(())
    }

    /// Starts it again with the same files, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), HarnessError> {
        self.start_again_without_waiting()?;
        self.wait_until_ready()
    }
}

fn spawn(spire: &Spire, directory: &Path, join_token: Option<&str>) -> Result<Process, HarnessError> {
    let mut command = Command::new(&spire.agent);
    command.args(["run", "-config"]).arg(directory.join("agent.conf"));
    if let Some(token) = join_token {
        command.args(["-joinToken", token]);
    }
    Process::spawn("spire-agent", &command)
}

fn config(directory: &Path, upstream: &Upstream<'_>, attestor: &Attestor<'_>) -> Result<String, HarnessError> {
    let Upstream { port, bundle_file, trust_domain, lines } = upstream;
    let directory = directory.display();
    let bundle = bundle_line(bundle_file);
    let attestor = match attestor {
        Attestor::JoinToken(_) => "NodeAttestor \"join_token\" { plugin_data {} }".to_owned(),
        Attestor::Certificate(files) => {
            let files = files.display();
            format!(
                "NodeAttestor \"x509pop\" {{\n plugin_data {{\n private_key_path = \"{files}/node.key.pem\"\n certificate_path = \"{files}/node.crt.pem\"\n }}\n }}"
            )
        }
        _ => return Err(HarnessError::Malformed { path: "attestor".to_owned(), expected: "one that SPIRE has" }),
    };
    Ok(format!(
        "agent {{
  trust_domain = \"{trust_domain}\"
  data_dir = \"{directory}/data\"
  server_address = \"127.0.0.1\"
  server_port = {port}
  socket_path = \"{directory}/public/agent.sock\"
  admin_socket_path = \"{directory}/admin/admin.sock\"
  {bundle}
  log_level = \"DEBUG\"
  experimental {{ sync_interval = \"1s\" }}
  {lines}
}}
plugins {{
  {attestor}
  KeyManager \"disk\" {{ plugin_data {{ directory = \"{directory}/data\" }} }}
  WorkloadAttestor \"unix\" {{ plugin_data {{ discover_workload_path = true workload_size_limit = -1 }} }}
}}
"
    ))
}
