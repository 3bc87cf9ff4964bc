//! Agents that attest to a server of the testbed, or to another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;

use tempfile::TempDir;

use super::config::agent_config;
use super::{STOP_TIMEOUT, TestServer, own_directory, wait_until_healthy, write};
use crate::tool::run;
use crate::{EkKind, HarnessError, Process, Swtpm, WallClock, program};

/// Where an agent finds its server: the port on 127.0.0.1, and the bundle to begin with.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// The port.
    pub port: u16,
    /// PEM. Empty where `lines` say where the bundle comes from.
    pub bundle_file: &'a Path,
    /// The trust domain.
    pub trust_domain: &'a str,
    /// Further lines of the `agent` block.
    pub lines: &'a str,
}

/// How an agent attests.
pub enum Attestor<'a> {
    /// With this TPM and that EK.
    Tpm(&'a Swtpm, EkKind),
    /// With this TPM and that EK, and the key of the agent's SVID in it.
    TpmWithKey(&'a Swtpm, EkKind),
    /// With the TPM at this address, and further lines of the plugin's configuration.
    TpmAt {
        /// The address as the TSS writes it.
        tcti: &'a str,
        /// Which EK.
        kind: EkKind,
        /// The firmware's event log; the file need not exist.
        event_log: &'a Path,
        /// Further lines of `plugin_data`.
        lines: &'a str,
    },
    /// With the certificate and the key in this directory: `node.crt.pem`, `node.key.pem`.
    Certificate(&'a Path),
    /// With this join token.
    JoinToken(String),
}

/// A running `plastron-agent`. It synchronises every second, and knows workloads by user, group and path, not by hash: hashing a
/// test's large program for every call takes longer than the call.
pub struct TestAgent {
    process: Process,
    directory: TempDir,
    join_token: Option<String>,
    clock: Option<Arc<WallClock>>,
    environment: Vec<(String, String)>,
}

impl TestAgent {
    /// Starts an agent and waits until it is attested and serves workloads.
    pub fn start(server: &TestServer, attestor: &Attestor<'_>) -> Result<Self, HarnessError> {
        let mut agent = Self::start_without_waiting(server, attestor)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts an agent whose attestation may fail.
    pub fn start_without_waiting(server: &TestServer, attestor: &Attestor<'_>) -> Result<Self, HarnessError> {
        Self::spawn(own_directory("agent-")?, &server.upstream(&server.bundle_file()), attestor, None)
    }

    /// Starts an agent of a server that is not a [`TestServer`], and waits until it is attested and serves workloads.
    pub fn start_at(upstream: &Upstream<'_>, attestor: &Attestor<'_>) -> Result<Self, HarnessError> {
        let mut agent = Self::spawn(own_directory("agent-")?, upstream, attestor, None)?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// The same with this in its environment, where its attestation may fail.
    pub fn start_in_without_waiting(
        environment: &[(&str, &str)],
        upstream: &Upstream<'_>,
        attestor: &Attestor<'_>,
    ) -> Result<Self, HarnessError> {
        let directory = own_directory("agent-")?;
        write(&directory.path().join("agent.conf"), &agent_config(directory.path(), upstream, attestor))?;
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let join_token = token_of(attestor);
        let process = spawn_agent(directory.path(), join_token.as_deref(), None, &environment)?;
        Ok(Self { process, directory, join_token, clock: None, environment })
    }

    /// Starts an agent that runs by this clock, and waits until it is attested and serves workloads.
    pub fn start_by(
        clock: &Arc<WallClock>,
        server: &TestServer,
        attestor: &Attestor<'_>,
    ) -> Result<Self, HarnessError> {
        let mut agent = Self::spawn(
            own_directory("agent-")?,
            &server.upstream(&server.bundle_file()),
            attestor,
            Some(Arc::clone(clock)),
        )?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    pub(super) fn spawn(
        directory: TempDir,
        upstream: &Upstream<'_>,
        attestor: &Attestor<'_>,
        clock: Option<Arc<WallClock>>,
    ) -> Result<Self, HarnessError> {
        let config = agent_config(directory.path(), upstream, attestor);
        write(&directory.path().join("agent.conf"), &config)?;
        let join_token = token_of(attestor);
        let process = spawn_agent(directory.path(), join_token.as_deref(), clock.as_deref(), &[])?;
        Ok(Self { process, directory, join_token, clock, environment: Vec::new() })
    }

    /// Stops it, and starts it again with this interval between synchronisations, in place of a second: with a long one, what arrives was pushed.
    pub fn synchronise_every(&mut self, interval: &str) -> Result<(), HarnessError> {
        self.terminate()?;
        let path = self.directory.path().join("agent.conf");
        let config = fs::read_to_string(&path).map_err(HarnessError::io("read agent.conf"))?;
        write(&path, &config.replace("sync_interval = \"1s\"", &format!("sync_interval = \"{interval}\"")))?;
        self.start_again()
    }

    /// Waits until it is attested and serves workloads.
    pub fn wait_until_ready(&mut self) -> Result<(), HarnessError> {
        let socket = self.socket();
        wait_until_healthy("plastron-agent", &socket, &mut self.process)
    }

    /// The Workload API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Its own files.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its process: log, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs `plastron-agent` with these arguments on its Workload API socket (`["api", "fetch", "x509"]`).
    pub fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        run(Command::new(program("plastron-agent")?).args(arguments).arg("-socketPath").arg(self.socket()))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), HarnessError> {
        self.process.kill()
    }

    /// SIGTERM, and waits until it has drained.
    pub fn terminate(&mut self) -> Result<ExitStatus, HarnessError> {
        self.process.terminate(STOP_TIMEOUT)
    }

    /// Starts it again with the same files, after `kill` or `terminate`, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), HarnessError> {
        self.start_again_without_waiting()?;
        self.wait_until_ready()
    }

    /// The same, where it may fail or take longer.
    pub fn start_again_without_waiting(&mut self) -> Result<(), HarnessError> {
        let (token, clock) = (self.join_token.as_deref(), self.clock.as_deref());
        self.process = spawn_agent(self.directory.path(), token, clock, &self.environment)?;
        Ok(())
    }
}

fn token_of(attestor: &Attestor<'_>) -> Option<String> {
    match attestor {
        Attestor::JoinToken(token) => Some(token.clone()),
        Attestor::Tpm(..) | Attestor::TpmWithKey(..) | Attestor::TpmAt { .. } | Attestor::Certificate(_) => None,
    }
}

fn spawn_agent(
    directory: &Path,
    join_token: Option<&str>,
    clock: Option<&WallClock>,
    environment: &[(String, String)],
) -> Result<Process, HarnessError> {
    let mut command = Command::new(program("plastron-agent")?);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(["run", "-config"]).arg(directory.join("agent.conf")).env("TSS2_LOG", "all+NONE");
    if let Some(clock) = clock {
        clock.show_to(&mut command)?;
    }
    if let Some(token) = join_token {
        command.args(["-joinToken", token]);
    }
    Process::spawn("plastron-agent", &command)
}
