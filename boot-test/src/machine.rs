//! The machine: a TPM and firmware variables that outlast a boot, and QEMU around them, in emulation, so that it runs where there is no
//! KVM and runs the same everywhere.
//!
//! It reaches one port of the host's loopback, at another address, and nothing else. It reads a disk that it boots from, a tar with what
//! it shall run, and writes a tar with what it found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{Manufacturer, Process, run, tool};
use tempfile::TempDir;

use crate::{BootTestError, firmware};

/// The guest's address for the port of the host's loopback.
pub(crate) const SERVER_ADDRESS: &str = "10.0.2.100";

/// How long a boot may take from power-on to power-off: 15 to 30 s on a quiet machine with two cores, several times that on a busy one.
const BOOT_TIMEOUT: Duration = Duration::from_secs(300);
/// How long swtpm may take to listen.
const TPM_TIMEOUT: Duration = Duration::from_secs(20);

/// Room for what the guest hands over, in bytes: logs of some hundred KiB.
const OUT_LEN: u64 = 16 << 20;
/// A virtio disk has whole sectors.
const SECTOR: u64 = 512;
/// Lines of the console that a failure shows.
const CONSOLE_LINES: usize = 30;

/// A machine that is switched off.
pub(crate) struct Machine {
    folder: PathBuf,
}

/// What a machine has handed over at its end.
pub(crate) struct Booted {
    folder: PathBuf,
    /// From power-on to power-off.
    pub(crate) took: Duration,
}

impl Machine {
    /// A machine with a new TPM of that manufacturer, below the folder, which is emptied first.
    pub(crate) fn new(folder: &Path, manufacturer: &Manufacturer) -> Result<Self, BootTestError> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(BootTestError::io(format!("empty {}", folder.display())))?;
        }
        let machine = Self { folder: folder.to_owned() };
        create(&machine.tpm_state())?;
        manufacturer.make_tpm(&machine.tpm_state())?;
        Ok(machine)
    }

    fn tpm_state(&self) -> PathBuf {
        self.folder.join("tpm")
    }

    /// Gives it a new variable store, with Microsoft's keys, and Secure Boot on or off.
    pub(crate) fn set_secure_boot(&self, on: bool) -> Result<(), BootTestError> {
        let path = self.folder.join("variables.fd");
        fs::write(&path, firmware::variables(on)?).map_err(BootTestError::io(format!("write {}", path.display())))
    }

    /// Boots from `disk`, which stays as it is, with `payload` (a folder) to run and a way to `port`, until it switches itself off.
    /// What it handed over is in a folder `name` afterwards.
    pub(crate) fn boot(&self, name: &str, disk: &Path, payload: &Path, port: u16) -> Result<Booted, BootTestError> {
        let out = self.folder.join(name);
        create(&out)?;
        let (payload_tar, out_tar, console) = (out.join("payload.tar"), out.join("out.tar"), out.join("console"));
        run(Command::new(tool("tar")?).arg("-cf").arg(&payload_tar).arg("-C").arg(payload).arg("."))?;
        set_len(&payload_tar, |len| len.next_multiple_of(SECTOR))?;
        set_len(&out_tar, |_| OUT_LEN)?;

        // A Unix socket's path is short, and the folder's may not be.
        let sockets = tempfile::tempdir().map_err(BootTestError::io("create a temporary folder"))?;
        let tpm = self.start_tpm(&sockets)?;
        let begun = Instant::now();
        let mut qemu = Command::new(tool("qemu-system-x86_64")?);
        self.describe(&mut qemu, &sockets);
        attach(&mut qemu, "esp", &format!("snapshot=on,file={}", disk.display()), ",bootindex=1");
        attach(&mut qemu, "payload", &format!("readonly=on,file={}", payload_tar.display()), "");
        attach(&mut qemu, "out", &format!("file={}", out_tar.display()), "");
        qemu.args(["-serial", &format!("file:{}", console.display())]);
        let relay = format!("{} nc 127.0.0.1 {port}", tool("busybox")?.display());
        qemu.args(["-netdev", &format!("user,id=net,restrict=on,guestfwd=tcp:{SERVER_ADDRESS}:{port}-cmd:{relay}")]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        let ended = Process::spawn("qemu", &qemu)?.wait(BOOT_TIMEOUT);
        drop(tpm);

        let failed = |what: String| BootTestError::Guest { what, console: last_lines(&console) };
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(failed(format!("switch itself off: QEMU ended with {status}"))),
            Err(error) => return Err(failed(format!("switch itself off: {error}"))),
        }
        let took = begun.elapsed();
        run(Command::new(tool("tar")?).arg("-xf").arg(&out_tar).arg("-C").arg(&out))
            .map_err(|error| failed(format!("hand its files over: {error}")))?;
        for path in [&payload_tar, &out_tar] {
            fs::remove_file(path).map_err(BootTestError::io(format!("remove {}", path.display())))?;
        }
        Ok(Booted { folder: out, took })
    }

    /// swtpm as QEMU wants it: QEMU itself switches it on and off over the control channel.
    fn start_tpm(&self, sockets: &TempDir) -> Result<Process, BootTestError> {
        let state = fs::canonicalize(self.tpm_state()).map_err(BootTestError::io("find the TPM's state"))?;
        let control = sockets.path().join("tpm");
        let mut command = Command::new(tool("swtpm")?);
        command.args(["socket", "--tpm2", "--terminate"]);
        command.arg("--tpmstate").arg(format!("dir={}", state.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", control.display()));
        let mut process = Process::spawn("swtpm", &command)?;
        let deadline = Instant::now() + TPM_TIMEOUT;
        while !control.exists() {
            if Instant::now() >= deadline || !process.is_running() {
                let source = std::io::Error::other(process.log());
                return Err(BootTestError::Io { what: "start the guest's TPM".to_owned(), source });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// Board, firmware and TPM. No default device, and no device with an option ROM: QEMU's would be measured into PCR 2.
    fn describe(&self, qemu: &mut Command, sockets: &TempDir) {
        let variables = self.folder.join("variables.fd");
        qemu.args(["-machine", "q35,smm=on,accel=tcg", "-cpu", "max", "-smp", "1", "-m", "512"]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        // Only code in SMM may write the flash that holds the variables.
        qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]);
        qemu.args(["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", firmware::CODE)]);
        qemu.args(["-drive", &format!("if=pflash,unit=1,format=raw,file={}", variables.display())]);
        qemu.args(["-chardev", &format!("socket,id=tpm,path={}", sockets.path().join("tpm").display())]);
        qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]);
        qemu.args(["-object", "rng-random,id=rng,filename=/dev/urandom"]);
        qemu.args(["-device", "virtio-rng-pci,rng=rng,romfile="]);
    }
}

impl Booted {
    /// A file that the guest handed over, or `None` where there was no such thing.
    pub(crate) fn file(&self, name: &str) -> Option<String> {
        fs::read(self.folder.join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Where the log of the boot is, or `None` where the kernel had none to hand on.
    pub(crate) fn event_log(&self) -> Option<PathBuf> {
        Some(self.folder.join("event-log")).filter(|path| path.exists())
    }

    /// The value of a PCR as the guest's kernel read it, in hexadecimal.
    pub(crate) fn pcr(&self, bank: &str, index: u8) -> Result<String, BootTestError> {
        let pcrs = self.file("pcrs").unwrap_or_default();
        let prefix = format!("{bank} {index} ");
        let value = pcrs.lines().find_map(|line| line.strip_prefix(&prefix));
        let path = self.folder.join("pcrs").display().to_string();
        value.map(str::to_ascii_lowercase).ok_or(BootTestError::Malformed { path, expected: "line for each PCR" })
    }
}

fn attach(qemu: &mut Command, name: &str, source: &str, options: &str) {
    qemu.args(["-drive", &format!("if=none,id={name},format=raw,{source}")]);
    qemu.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name},romfile={options}")]);
}

fn create(folder: &Path) -> Result<(), BootTestError> {
    fs::create_dir_all(folder).map_err(BootTestError::io(format!("create {}", folder.display())))
}

/// Sets the length of a file, which is created where it is not there, from the length that it has.
fn set_len(path: &Path, len: impl FnOnce(u64) -> u64) -> Result<(), BootTestError> {
    let file = fs::File::options().create(true).append(true).open(path);
    file.and_then(|file| file.set_len(len(file.metadata()?.len())))
        .map_err(BootTestError::io(format!("size {}", path.display())))
}

fn last_lines(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default();
    shown.join("\n").escape_debug().to_string().replace("\\n", "\n")
}
