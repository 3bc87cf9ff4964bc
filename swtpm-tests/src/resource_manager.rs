//! tpm2-abrmd in front of a TPM, on a D-Bus of its own: a resource manager, as `/dev/tpmrm0` is one.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::softhsm::run_again;
use crate::tool::run;
use crate::{HarnessError, Process, Swtpm, tool};

/// The address of the private bus, for libtss2's TCTI in the test's own process.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
/// In the environment of a test that [`behind_resource_manager`] started.
const STARTED: &str = "PLASTRON_TEST_RESOURCE_MANAGER";
/// How a program reaches the resource manager.
const TCTI: &str = "tabrmd:bus_type=session";
/// How long bus and daemon may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the body of a `#[test]` in a process of its own that has a resource manager with a new TPM behind it, because libtss2 learns the
/// bus from the environment. Call it as the whole body of the test. The body gets the TCTI configuration.
pub fn behind_resource_manager<F: FnOnce(&str)>(body: F) -> Result<(), HarnessError> {
    if env::var_os(STARTED).is_some() {
        body(TCTI);
        return Ok(());
    }
    let tpm = Swtpm::start()?;
    let mut bus = Command::new(tool("dbus-daemon")?);
    bus.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
    bus.arg(format!("--address=unix:path={}", tpm.directory().join("bus").display()));
    let mut bus = Process::spawn("dbus-daemon", &bus)?;
    let address = bus.wait_for_line("unix:", START_TIMEOUT)?;
    let mut daemon = Command::new(tool("tpm2-abrmd")?);
    daemon.args(["--session", "--allow-root"]).arg(format!("--tcti={}", tpm.tcti())).env(BUS, &address);
    let mut daemon = Process::spawn("tpm2-abrmd", &daemon)?;
    // It says nothing when it is ready.
    let deadline = Instant::now() + START_TIMEOUT;
    let mut ask = Command::new(tool("tpm2")?);
    ask.args(["getrandom", "1"]).env("TPM2TOOLS_TCTI", TCTI).env(BUS, &address).env("TSS2_LOG", "all+NONE");
    while run(&mut ask).is_err() {
        if Instant::now() >= deadline || !daemon.is_running() {
            let what = "tpm2-abrmd serving the TPM".to_owned();
            return Err(HarnessError::Timeout { what, seconds: START_TIMEOUT.as_secs(), log: daemon.log() });
        }
        thread::sleep(Duration::from_millis(20));
    }
    run_again(std::any::type_name::<F>(), &[(STARTED, OsStr::new("1")), (BUS, OsStr::new(&address))])
}
