//! The real programs, configured and running: a server, and agents that attest to it.

mod agent;
mod config;
mod copy;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use agent::{Attestor, TestAgent, Upstream};
pub(crate) use config::bundle_line;
use config::server_config;

use crate::tool::run;
use crate::{EkKind, HarnessError, Manufacturer, Process, SoftHsm, WallClock, program};

/// The trust domain of a testbed that asks for no other.
pub const TRUST_DOMAIN: &str = "testbed.example";

/// How long a program may take until it serves. It takes well under a second; a loaded machine may need more.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a program may take to drain.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody else took the first.
const PORT_ATTEMPTS: u32 = 5;

/// What distinguishes one server from another. The defaults serve most scenarios.
pub struct ServerOptions {
    /// What it finds in its environment beside that of the test.
    pub environment: Vec<(String, String)>,
    /// Its trust domain.
    pub trust_domain: &'static str,
    /// The CA key's token; `None` keeps keys in the server's directory, where they outlive a kill.
    pub token: Option<SoftHsm>,
    /// Whether the server reaches its token through the [`FaultProxy`].
    pub faults: bool,
    /// Further lines of the token's key manager.
    pub key_lines: String,
    /// Blocks beside `server` and `plugins`.
    pub blocks: String,
    /// The manufacturer whose TPMs are trusted, and which of their EKs; `None` configures no `tpm` attestor.
    pub tpms: Option<(Manufacturer, EkKind)>,
    /// Further lines of the `server` block.
    pub server_lines: String,
    /// Further lines of the `tpm` attestor's pool. By default it takes TPMs that no firmware extends.
    pub pool_lines: String,
    /// The clock that it runs by; `None` for the machine's.
    pub clock: Option<Arc<WallClock>>,
    /// Further plugins.
    pub plugin_lines: String,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            trust_domain: TRUST_DOMAIN,
            token: None,
            faults: false,
            key_lines: String::new(),
            blocks: String::new(),
            tpms: None,
            server_lines: "default_x509_svid_ttl = \"1h\"".to_owned(),
            pool_lines: "missing_event_log = \"accept\"".to_owned(),
            clock: None,
            plugin_lines: String::new(),
        }
    }
}

/// A running `plastron-server` with SQLite, on a loopback port of its own. Join tokens are always accepted.
pub struct TestServer {
    // Before the directory, so that the process ends before its files go.
    process: Process,
    directory: TempDir,
    options: ServerOptions,
    port: u16,
}

impl TestServer {
    /// Starts a server and waits until it serves.
    pub fn start(options: ServerOptions) -> Result<Self, HarnessError> {
        let directory = own_directory("server-")?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = free_port()?;
            write(&directory.path().join("server.conf"), &server_config(directory.path(), port, &options)?)?;
            match spawn_server(directory.path(), &options) {
                Ok(process) => {
                    let server = Self { process, directory, options, port };
                    server.write_bundle()?;
                    return Ok(server);
                }
                Err(error) if attempts >= PORT_ATTEMPTS || !error.to_string().contains("in use") => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The port that agents connect to, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The admin API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("server.sock")
    }

    /// The trust bundle as the server showed it when it first ran, PEM.
    pub fn bundle_file(&self) -> PathBuf {
        self.directory.path().join("bundle.pem")
    }

    /// What an agent has to know to attest to it.
    pub fn upstream<'a>(&self, bundle_file: &'a Path) -> Upstream<'a> {
        Upstream { port: self.port, bundle_file, trust_domain: self.options.trust_domain, lines: "" }
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.directory.path().join("datastore.sqlite3")
    }

    /// The token of its CA key.
    pub fn token(&self) -> Option<&SoftHsm> {
        self.options.token.as_ref()
    }

    /// Its process: log, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs `plastron-server` with these arguments on its admin socket (`["entry", "show"]`).
    pub fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        run(Command::new(program("plastron-server")?).args(arguments).arg("-socketPath").arg(self.socket()))
    }

    /// A new join token.
    pub fn join_token(&self) -> Result<String, HarnessError> {
        let output = self.cli(&["token", "generate"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = text.lines().find_map(|line| line.strip_prefix("Token: "));
        token.map(str::to_owned).ok_or(HarnessError::Malformed { path: text, expected: "the output of token generate" })
    }

    /// SIGKILL: what a crash or a power cut does.
    pub fn kill(&mut self) -> Result<(), HarnessError> {
        self.process.kill()
    }

    /// SIGTERM, and waits until it has drained.
    pub fn terminate(&mut self) -> Result<ExitStatus, HarnessError> {
        self.process.terminate(STOP_TIMEOUT)
    }

    /// Starts it again with the same files on the same port, after `kill` or `terminate`, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), HarnessError> {
        self.process = spawn_server(self.directory.path(), &self.options)?;
        Ok(())
    }

    /// The same, for a test that does not let it come that far.
    pub fn start_again_without_waiting(&mut self) -> Result<(), HarnessError> {
        self.process = begin_server(self.directory.path(), &self.options)?;
        Ok(())
    }

    /// What a lost disk does: it starts with neither database nor keys, on the same port, and makes itself a new CA. The bundle file becomes
    /// the new one's.
    pub fn lose_data(&mut self) -> Result<(), HarnessError> {
        self.kill()?;
        let keys = self.directory.path().join("keys");
        fs::remove_dir_all(&keys).map_err(HarnessError::io(format!("remove {}", keys.display())))?;
        for suffix in ["", "-wal", "-shm"] {
            // The last two are there only sometimes.
            let _ = fs::remove_file(format!("{}{suffix}", self.database().display()));
        }
        self.start_again()?;
        self.write_bundle()
    }

    /// Stops it, puts these lines in place of the pool's further lines, and starts it again: what an operator does who changes
    /// what a pool demands.
    pub fn change_pool(&mut self, pool_lines: &str) -> Result<(), HarnessError> {
        self.terminate()?;
        pool_lines.clone_into(&mut self.options.pool_lines);
        let directory = self.directory.path();
        write(&directory.join("server.conf"), &server_config(directory, self.port, &self.options)?)?;
        self.start_again()
    }

    /// Writes the bundle of now where agents look for it before they have one: what an operator does who bootstraps anew.
    pub fn write_bundle(&self) -> Result<(), HarnessError> {
        let bundle = self.cli(&["bundle", "show"])?.stdout;
        let path = self.bundle_file();
        fs::write(&path, bundle).map_err(HarnessError::io(format!("write {}", path.display())))
    }
}

pub(crate) fn own_directory(prefix: &str) -> Result<TempDir, HarnessError> {
    // Short and in /tmp: a Unix socket's path has at most 107 bytes.
    tempfile::Builder::new().prefix(prefix).tempdir().map_err(HarnessError::io("create a temporary directory"))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), HarnessError> {
    fs::write(path, text).map_err(HarnessError::io(format!("write {}", path.display())))
}

pub(crate) fn free_port() -> Result<u16, HarnessError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(HarnessError::io("find a free port"))?;
    Ok(listener.local_addr().map_err(HarnessError::io("find a free port"))?.port())
}

fn spawn_server(directory: &Path, options: &ServerOptions) -> Result<Process, HarnessError> {
    let mut process = begin_server(directory, options)?;
    wait_until_healthy("plastron-server", &directory.join("server.sock"), &mut process)?;
    Ok(process)
}

fn begin_server(directory: &Path, options: &ServerOptions) -> Result<Process, HarnessError> {
    let mut command = Command::new(program("plastron-server")?);
    command.args(["run", "-config"]).arg(directory.join("server.conf"));
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    if let Some(token) = &options.token {
        command.envs(token.environment()?);
    }
    if let Some(clock) = &options.clock {
        clock.show_to(&mut command)?;
    }
    Process::spawn("plastron-server", &command)
}

/// Asks `healthcheck` until it says yes, the program ends, or time is up.
pub(crate) fn wait_until_healthy(name: &str, socket: &Path, process: &mut Process) -> Result<(), HarnessError> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let mut check = Command::new(program(name)?);
        let asked = run(check.arg("healthcheck").arg("-socketPath").arg(socket));
        if asked.is_ok() {
            return Ok(());
        }
        if Instant::now() >= deadline || !process.is_running() {
            // What it printed last arrives after its end.
            let _ = process.wait(Duration::from_millis(200));
            let what = format!("a healthy {name}");
            return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log: process.log() });
        }
        thread::sleep(Duration::from_millis(50));
    }
}
