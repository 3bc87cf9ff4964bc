//! A TPM 2.0 as a process, on a Unix socket of its own.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tool::run;
use crate::{HarnessError, Manufacturer, Process, tool};

/// How long a TPM may take to listen. It takes milliseconds; a loaded machine may need more.
const START_TIMEOUT: Duration = Duration::from_secs(20);

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
        let process = listen(directory.path(), "not-need-init,startup-clear")?;
        Ok(Self { process, directory, manufacturer })
    }

    /// Its address as the TSS writes it (`swtpm:path=…`): for `tcti` in a configuration and `TPM2TOOLS_TCTI`.
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    /// The data socket.
    pub fn socket(&self) -> PathBuf {
        socket_of(self.directory.path())
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
        let control = control_of(self.directory.path());
        run(Command::new(tool("swtpm_ioctl")?).arg("--unix").arg(control).arg("-i"))?;
        self.tpm2(&["startup", "-c"])?;
        Ok(())
    }

    /// Suspend and resume: TPM2_Shutdown(STATE), reset, TPM2_Startup(STATE). restartCount grows by one.
    pub fn suspend_and_resume(&self) -> Result<(), HarnessError> {
        self.tpm2(&["shutdown"])?;
        let control = control_of(self.directory.path());
        run(Command::new(tool("swtpm_ioctl")?).arg("--unix").arg(control).arg("-i"))?;
        self.tpm2(&["startup"])?;
        Ok(())
    }

    /// TPM2_PCR_Extend of one bank, the others left out: `bank` as tpm2-tools write it (`sha256`), `digest` in its length.
    pub fn extend_pcr(&self, pcr: u32, bank: &str, digest: &[u8]) -> Result<(), HarnessError> {
        let specification = format!("{pcr}:{bank}={}", hex::encode(digest));
        self.tpm2(&["pcrextend", &specification])?;
        Ok(())
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
        self.process = listen(self.directory.path(), "not-need-init,startup-clear")?;
        Ok(())
    }

    /// Switches it off: afterwards nobody answers on the socket.
    pub fn stop(&mut self) -> Result<(), HarnessError> {
        self.process.kill()?;
        for socket in [self.socket(), control_of(self.directory.path())] {
            // A killed swtpm leaves its sockets behind.
            let _ = fs::remove_file(socket);
        }
        Ok(())
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
    // Short and in /tmp: a Unix socket's path has at most 107 bytes.
    let directory =
        tempfile::Builder::new().prefix("tpm-").tempdir().map_err(HarnessError::io("create a temporary directory"))?;
    let state = state_of(directory.path());
    fs::create_dir(&state).map_err(HarnessError::io(format!("create {}", state.display())))?;
    Ok(directory)
}

fn state_of(directory: &Path) -> PathBuf {
    directory.join("state")
}

fn socket_of(directory: &Path) -> PathBuf {
    directory.join("tpm.sock")
}

fn control_of(directory: &Path) -> PathBuf {
    directory.join("tpm.sock.ctrl")
}

/// Starts swtpm and waits until it listens. All paths are absolute: with relative ones it ends up in failure mode.
fn listen(directory: &Path, flags: &str) -> Result<Process, HarnessError> {
    let (socket, control) = (socket_of(directory), control_of(directory));
    for path in [&socket, &control] {
        let _ = fs::remove_file(path);
    }
    let mut command = Command::new(tool("swtpm")?);
    command.args(["socket", "--tpm2"]);
    command.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
    command.arg("--ctrl").arg(format!("type=unixio,path={}", control.display()));
    command.arg("--tpmstate").arg(format!("dir={}", state_of(directory).display()));
    command.arg("--flags").arg(flags);
    let mut process = Process::spawn("swtpm", &command)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while UnixStream::connect(&control).is_err() || !socket.exists() {
        if Instant::now() >= deadline || !process.is_running() {
            let what = format!("swtpm listening on {}", socket.display());
            return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log: process.log() });
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(process)
}
