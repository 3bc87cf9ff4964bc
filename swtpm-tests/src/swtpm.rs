//! A TPM 2.0 as a process, on loopback ports of its own.
//!
//! A Unix socket would be nicer, but tss-esapi 7.7 passes only `host` and `port` on to swtpm's TCTI, which then finds the control
//! channel one port above.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tool::run;
use crate::{HarnessError, Manufacturer, Process, tool};

/// How long a TPM may take to listen. It takes milliseconds; a loaded machine may need more.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often other ports are tried.
const PORT_ATTEMPTS: u32 = 20;

/// The endorsement keys that the manufacturer certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkKind {
    /// RSA-2048 (template L-1).
    Rsa2048,
    /// P-384 (template H-3).
    P384,
}

/// A TPM. It has two EKs with certificates in NV, a platform certificate in NV, and three allocated PCR banks: SHA-1, SHA-256
/// and SHA-384. It has no resource manager: three transient slots. It ends when it is dropped.
pub struct Swtpm {
    // Before the directory, so that the process ends before its files go.
    process: Process,
    port: u16,
    directory: TempDir,
    manufacturer: Manufacturer,
}

impl Swtpm {
    /// A new TPM of the shared manufacturer, switched on.
    pub fn start() -> Result<Self, HarnessError> {
        Self::made_by(&Manufacturer::shared()?)
    }

    /// A new TPM of that manufacturer, switched on.
    pub fn made_by(manufacturer: &Manufacturer) -> Result<Self, HarnessError> {
        let directory = own_directory()?;
        manufacturer.make_tpm(&state_of(directory.path()))?;
        Self::switch_on(directory, manufacturer.clone())
    }

    /// A new TPM of the shared manufacturer whose RSA key has 3072 bits.
    pub fn start_with_rsa_3072() -> Result<Self, HarnessError> {
        let (manufacturer, directory) = (Manufacturer::shared()?, own_directory()?);
        manufacturer.make_tpm_with_rsa_3072(&state_of(directory.path()))?;
        Self::switch_on(directory, manufacturer)
    }

    /// Another TPM with a copy of this one's state: same EK, same counters. What an attacker gets who copies a virtual TPM.
    pub fn clone_state(&self) -> Result<Self, HarnessError> {
        let directory = own_directory()?;
        let (from, to) = (state_of(self.directory.path()), state_of(directory.path()));
        let entries = fs::read_dir(&from).map_err(HarnessError::io(format!("read {}", from.display())))?;
        for entry in entries {
            let entry = entry.map_err(HarnessError::io(format!("read {}", from.display())))?;
            if entry.file_name() != ".lock" {
                fs::copy(entry.path(), to.join(entry.file_name())).map_err(HarnessError::io("copy the TPM's state"))?;
            }
        }
        Self::switch_on(directory, self.manufacturer.clone())
    }

    fn switch_on(directory: TempDir, manufacturer: Manufacturer) -> Result<Self, HarnessError> {
        let mut attempts = 0;
        loop {
            // Somebody else may take the ports between this and swtpm's bind; then swtpm ends and others are tried.
            let port = free_ports()?;
            attempts += 1;
            match listen(directory.path(), port) {
                Ok(process) => return Ok(Self { process, port, directory, manufacturer }),
                Err(error) if attempts >= PORT_ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Its address as the TSS writes it (`swtpm:host=…,port=…`): for `tcti` in a configuration and `TPM2TOOLS_TCTI`.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Who made it.
    pub fn manufacturer(&self) -> &Manufacturer {
        &self.manufacturer
    }

    /// The EK certificate, DER, as the manufacturer handed it out (NV holds the same).
    pub fn ek_certificate(&self, kind: EkKind) -> Result<Vec<u8>, HarnessError> {
        let name = match kind {
            EkKind::Rsa2048 => "ek-rsa2048.crt",
            EkKind::P384 => "ek-secp384r1.crt",
        };
        let path = state_of(self.directory.path()).join(name);
        fs::read(&path).map_err(HarnessError::io(format!("read {}", path.display())))
    }

    /// An orderly reboot: TPM2_Shutdown(CLEAR), reset, TPM2_Startup(CLEAR). resetCount grows by one; transient objects are gone.
    pub fn reboot(&self) -> Result<(), HarnessError> {
        self.tpm2(&["shutdown", "-c"])?;
        self.power_cut()
    }

    /// The power fails and comes back: no TPM2_Shutdown, so the clock is not safe afterwards.
    pub fn power_cut(&self) -> Result<(), HarnessError> {
        self.initialise()?;
        self.tpm2(&["startup", "-c"])?;
        Ok(())
    }

    /// Suspend and resume: TPM2_Shutdown(STATE), reset, TPM2_Startup(STATE). restartCount grows by one.
    pub fn suspend_and_resume(&self) -> Result<(), HarnessError> {
        self.tpm2(&["shutdown"])?;
        self.initialise()?;
        self.tpm2(&["startup"])?;
        Ok(())
    }

    /// _TPM_Init: the hardware reset.
    fn initialise(&self) -> Result<(), HarnessError> {
        let control = format!("127.0.0.1:{}", self.port + 1);
        run(Command::new(tool("swtpm_ioctl")?).args(["--tcp", &control, "-i"]))?;
        Ok(())
    }

    /// TPM2_PCR_Extend of one bank, the others left out: `bank` as tpm2-tools write it (`sha256`), `digest` in its length.
    pub fn extend_pcr(&self, pcr: u32, bank: &str, digest: &[u8]) -> Result<(), HarnessError> {
        let specification = format!("{pcr}:{bank}={}", hex::encode(digest));
        self.tpm2(&["pcrextend", &specification])?;
        Ok(())
    }

    /// Firmware and boot loader at work: every extension in order, `pcr:bank=<hex>,…` as tpm2-tools write it, and the log of them where
    /// [`Self::event_log_file`] says.
    pub fn measure(&self, extensions: &[String], log: &[u8]) -> Result<(), HarnessError> {
        let mut arguments = vec!["pcrextend"];
        arguments.extend(extensions.iter().map(String::as_str));
        self.tpm2(&arguments)?;
        let path = self.event_log_file();
        fs::write(&path, log).map_err(HarnessError::io(format!("write {}", path.display())))
    }

    /// The event log of the present boot. There is none before something is measured.
    pub fn event_log_file(&self) -> PathBuf {
        self.directory.path().join("event_log")
    }

    /// TPM2_Clear by platform authorisation: the owner's keys and the EK's children are gone, the EKs stay.
    pub fn clear(&self) -> Result<(), HarnessError> {
        self.tpm2(&["clear", "-c", "p"])?;
        Ok(())
    }

    /// Sets the authorisation value of a hierarchy (`owner`, `endorsement` or `lockout`), which was empty before.
    pub fn set_auth(&self, hierarchy: &str, auth: &str) -> Result<(), HarnessError> {
        self.tpm2(&["changeauth", "-c", hierarchy, auth])?;
        Ok(())
    }

    /// Kills the process and starts another on the same state, without TPM2_Startup afterwards being needed: what a host
    /// sees when its virtual TPM crashes.
    pub fn restart(&mut self) -> Result<(), HarnessError> {
        self.process.kill()?;
        self.process = listen(self.directory.path(), self.port)?;
        Ok(())
    }

    /// Switches it off: afterwards nobody answers.
    pub fn stop(&mut self) -> Result<(), HarnessError> {
        self.process.kill()
    }

    /// Runs a tpm2-tools command (`tpm2 <arguments>`) against it.
    pub fn tpm2(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        let mut command = Command::new(tool("tpm2")?);
        command.args(arguments).env("TPM2TOOLS_TCTI", self.tcti()).env("TSS2_LOG", "all+NONE");
        command.current_dir(self.directory.path());
        run(&mut command)
    }

    /// A directory of this TPM's own, for files that a test hands to tpm2-tools. [`Self::tpm2`] runs in it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn own_directory() -> Result<TempDir, HarnessError> {
    let directory =
        tempfile::Builder::new().prefix("tpm-").tempdir().map_err(HarnessError::io("create a temporary directory"))?;
    let state = state_of(directory.path());
    fs::create_dir(&state).map_err(HarnessError::io(format!("create {}", state.display())))?;
    Ok(directory)
}

fn state_of(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// A port with a free one above it.
fn free_ports() -> Result<u16, HarnessError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..PORT_ATTEMPTS {
        let first = bind(0).map_err(HarnessError::io("find a free port"))?;
        let port = first.local_addr().map_err(HarnessError::io("find a free port"))?.port();
        if port.checked_add(1).is_some_and(|above| bind(above).is_ok()) {
            return Ok(port);
        }
    }
    Err(HarnessError::Io {
        what: "find two free ports in a row".to_owned(),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

/// Starts swtpm and waits until it has its ports, which it says by writing its PID. All paths are absolute: with relative ones it
/// ends up in failure mode.
fn listen(directory: &Path, port: u16) -> Result<Process, HarnessError> {
    let pid_file = directory.join("pid");
    let _ = fs::remove_file(&pid_file);
    let mut command = Command::new(tool("swtpm")?);
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
    command.args(["--server", &format!("type=tcp,bindaddr=127.0.0.1,port={port}")]);
    command.args(["--ctrl", &format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1)]);
    command.arg("--tpmstate").arg(format!("dir={}", state_of(directory).display()));
    command.arg("--pid").arg(format!("file={}", pid_file.display()));
    let mut process = Process::spawn("swtpm", &command)?;
    let deadline = Instant::now() + START_TIMEOUT;
    let pid = process.pid().to_string();
    while fs::read_to_string(&pid_file).map_or(true, |written| written.trim() != pid) {
        if Instant::now() >= deadline || !process.is_running() {
            let what = format!("swtpm listening on port {port}");
            return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log: process.log() });
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(process)
}
