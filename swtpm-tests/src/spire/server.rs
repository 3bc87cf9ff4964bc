//! SPIRE's server.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use tempfile::TempDir;

use super::Spire;
use crate::testbed::{START_TIMEOUT, STOP_TIMEOUT, free_port, own_directory, write};
use crate::{HarnessError, Process, Upstream};

/// What distinguishes one server from another.
#[derive(Clone, Debug)]
pub struct SpireServerOptions {
    /// The trust domain.
    pub trust_domain: String,
    /// Further lines of the `server` block.
    pub server_lines: String,
    /// Further plugins.
    pub plugin_lines: String,
}

impl Default for SpireServerOptions {
    fn default() -> Self {
        Self { trust_domain: "spire.example".to_owned(), server_lines: String::new(), plugin_lines: String::new() }
    }
}

/// A running `spire-server` with SQLite and keys on disk, on a loopback port of its own. Join tokens are always accepted.
pub struct SpireServer {
    // Before the directory, so that the process ends before its files go.
    process: Process,
    directory: TempDir,
    spire: Spire,
    options: SpireServerOptions,
    port: u16,
}

impl SpireServer {
    /// Starts a server and waits until it serves.
    pub fn start(spire: &Spire, options: SpireServerOptions) -> Result<Self, HarnessError> {
        let directory = own_directory("spire-server-")?;
        let port = free_port()?;
        write(&directory.path().join("server.conf"), &config(directory.path(), port, &options))?;
        fs::create_dir(directory.path().join("data")).map_err(HarnessError::io("create a data directory"))?;
        let process = spawn(spire, directory.path())?;
        let mut server = Self { process, directory, spire: spire.clone(), options, port };
        server.wait_until_ready()?;
        server.write_bundle()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), HarnessError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.cli(&["healthcheck"]).is_err() {
            if Instant::now() >= deadline || !self.process.is_running() {
                // What it printed last arrives after its end.
                let _ = self.process.wait(Duration::from_millis(200));
                let (what, log) = ("a healthy spire-server".to_owned(), self.process.log());
                return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Runs `spire-server` with these arguments on its admin socket.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        self.spire.server_cli(&self.socket(), arguments)
    }

    /// A new join token.
    pub fn join_token(&self) -> Result<String, HarnessError> {
        let output = self.cli(&["token", "generate"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = text.lines().find_map(|line| line.strip_prefix("Token: "));
        token.map(str::to_owned).ok_or(HarnessError::Malformed { path: text, expected: "the output of token generate" })
    }

    /// The admin API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("server.sock")
    }

    /// The port that agents connect to, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The trust bundle as the server showed it when it first ran, PEM.
    pub fn bundle_file(&self) -> PathBuf {
        self.directory.path().join("bundle.pem")
    }

    /// What an agent has to know to attest to it.
    pub fn upstream<'a>(&'a self, bundle_file: &'a Path, lines: &'a str) -> Upstream<'a> {
        Upstream { port: self.port, bundle_file, trust_domain: &self.options.trust_domain, lines }
    }

    /// Its process: log, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM, and waits until it has drained.
    pub fn terminate(&mut self) -> Result<ExitStatus, HarnessError> {
        self.process.terminate(STOP_TIMEOUT)
    }

    /// Starts it again with the same files on the same port, and waits until it serves.
    pub fn start_again(&mut self) -> Result<(), HarnessError> {
        self.process = spawn(&self.spire, self.directory.path())?;
        self.wait_until_ready()
    }

    /// What a lost disk does: it starts with neither database nor keys, on the same port, and makes itself a new CA. The bundle file becomes
    /// the new one's.
    pub fn lose_data(&mut self) -> Result<(), HarnessError> {
        self.terminate()?;
        let data = self.directory.path().join("data");
        let emptied = fs::remove_dir_all(&data).and_then(|()| fs::create_dir(&data));
        emptied.map_err(HarnessError::io(format!("empty {}", data.display())))?;
        self.start_again()?;
        self.write_bundle()
    }

    fn write_bundle(&self) -> Result<(), HarnessError> {
        let bundle = self.cli(&["bundle", "show"])?.stdout;
        let path = self.bundle_file();
        let written: io::Result<()> = fs::write(&path, bundle);
        written.map_err(HarnessError::io(format!("write {}", path.display())))
    }
}

fn spawn(spire: &Spire, directory: &Path) -> Result<Process, HarnessError> {
    let mut command = Command::new(&spire.server);
    command.args(["run", "-config"]).arg(directory.join("server.conf"));
    Process::spawn("spire-server", &command)
}

fn config(directory: &Path, port: u16, options: &SpireServerOptions) -> String {
    let SpireServerOptions { trust_domain, server_lines, plugin_lines } = options;
    let directory = directory.display();
    format!(
        "server {{
  trust_domain = \"{trust_domain}\"
  data_dir = \"{directory}/data\"
  bind_address = \"127.0.0.1\"
  bind_port = {port}
  socket_path = \"{directory}/server.sock\"
  log_level = \"DEBUG\"
  {server_lines}
}}
plugins {{
  DataStore \"sql\" {{
    plugin_data {{
      database_type = \"sqlite3\"
      connection_string = \"{directory}/data/datastore.sqlite3\"
    }}
  }}
  KeyManager \"disk\" {{ plugin_data {{ keys_path = \"{directory}/data/keys.json\" }} }}
  NodeAttestor \"join_token\" {{ plugin_data {{}} }}
  {plugin_lines}
}}
"
    )
}
