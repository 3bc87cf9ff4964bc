//! What is shown, in order: one machine, booted as it should be and as it should not.

use std::path::{Path, PathBuf};
use std::process::Command;

use plastron_swtpm_tests::{EkKind, Manufacturer, ServerOptions, TestServer, program, run};
use serde_json::Value;

use crate::machine::{Booted, Machine};
use crate::verdict::{AuditReader, Verdict};
use crate::{BootTestError, payload};

/// Nothing that changes what is shown: the console, and a reset in place of a halt when the kernel panics.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1";
/// What an attacker at GRUB's menu adds, and what the refusal has to show.
const ADDED: &str = "init=/bin/sh";

/// What the pool demands of every boot.
const SECURE_BOOT: &str = "secure_boot { enabled = true }";
/// What a refusal says where Secure Boot was off: the event that told it.
const SECURE_BOOT_OFF: &str = "Secure Boot is disabled (event ";
/// PCRs that the reviewed boot pins: boot applications, Secure Boot, GRUB's commands with the kernel's command line, GRUB's files.
const PINNED: [u8; 4] = [4, 7, 8, 9];
/// PCRs that nothing but firmware, shim and GRUB extends.
const BOOT_PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
/// The banks of the guest's TPM.
const BANKS: [&str; 3] = ["sha1", "sha256", "sha384"];
/// Those that pins are demanded for.
const PINNED_BANKS: [&str; 2] = ["sha256", "sha384"];

/// Server, machine and disks.
struct Stage {
    server: TestServer,
    audit: AuditReader,
    machine: Machine,
    payload: PathBuf,
    disks: Disks,
    /// The machine's SPIFFE ID, once it was admitted.
    node: String,
}

struct Disks {
    reviewed: PathBuf,
    changed: PathBuf,
    systemd_boot: PathBuf,
}

/// Runs everything.
pub(crate) fn tell(scripts: &Path, work: &Path) -> Result<(), BootTestError> {
    step("Making disks, a server and a machine");
    let mut stage = Stage::set(scripts, work)?;
    stage.reviewed_boot_is_admitted()?;
    stage.changed_command_line_is_refused()?;
    stage.secure_boot_off_is_refused()?;
    stage.no_log_is_no_verdict()
}

impl Stage {
    fn set(scripts: &Path, work: &Path) -> Result<Self, BootTestError> {
        let disks = Disks::make(scripts, work)?;
        say("disks: Debian's shim, GRUB and kernel; the same with another command line; systemd-boot");
        let manufacturer = Manufacturer::shared()?;
        let server = TestServer::start(ServerOptions {
            tpms: Some((manufacturer.clone(), EkKind::Rsa2048)),
            server_lines: "log_format = \"json\"".to_owned(),
            pool_lines: SECURE_BOOT.to_owned(),
            ..ServerOptions::default()
        })?;
        say(format_args!("server on 127.0.0.1:{}: its pool demands Secure Boot", server.port()));
        let payload = work.join("payload");
        payload::fill(&payload, &scripts.join("guest"), &server)?;
        let machine = Machine::new(&work.join("machine"), &manufacturer)?;
        machine.set_secure_boot(true)?;
        say("machine with a TPM of its own, OVMF and Microsoft's keys");
        Ok(Self { server, audit: AuditReader::default(), machine, payload, disks, node: String::new() })
    }

    fn boot(&mut self, name: &str, disk: &Path) -> Result<(Booted, Verdict), BootTestError> {
        let booted = self.machine.boot(name, disk, &self.payload, self.server.port())?;
        let log = match booted.event_log() {
            Some(path) => {
                let len = path.metadata().map_err(BootTestError::io(format!("read {}", path.display())))?.len();
                format!("an event log of {len} bytes")
            }
            None => "no event log".to_owned(),
        };
        say(format_args!("booted and switched off within {} s; {log}", booted.took.as_secs()));
        let verdict = self.audit.next(&mut self.server).map_err(|error| BootTestError::NotProved {
            expected: "a verdict in the audit log".to_owned(),
            saw: format!("{error}; the agent says: {}", booted.file("agent.log").unwrap_or_default()),
        })?;
        Ok((booted, verdict))
    }

    fn change_pool(&mut self, lines: &str) -> Result<(), BootTestError> {
        self.server.change_pool(lines)?;
        self.audit.start_over();
        Ok(())
    }

    /// The first boot is the one that a person would look at; its values are pinned, and the same boot is admitted again.
    fn reviewed_boot_is_admitted(&mut self) -> Result<(), BootTestError> {
        step("The machine boots with Secure Boot");
        let disk = self.disks.reviewed.clone();
        let (booted, verdict) = self.boot("reviewed", &disk)?;
        admitted(&booted, &verdict)?;
        verdict.node().clone_into(&mut self.node);
        let shown = self.server.cli(&["agent", "show", "-spiffeID", &self.node])?;
        let selectors = String::from_utf8_lossy(&shown.stdout).into_owned();
        require(selectors.contains("tpm:secure_boot:true"), "the selector tpm:secure_boot:true", &selectors)?;
        say("its selectors have tpm:secure_boot:true, from a log that the firmware wrote");
        log_replays(&booted)?;

        step("What was measured is pinned, and the machine boots again");
        let pins = pins(&booted)?;
        self.change_pool(&format!("{SECURE_BOOT}\n{pins}"))?;
        say(format_args!("golden values of PCRs {PINNED:?} in {}", PINNED_BANKS.join(" and ")));
        let (booted, verdict) = self.boot("pinned", &disk)?;
        admitted(&booted, &verdict)?;
        require(verdict.node() == self.node, "the same node", &verdict)
    }

    fn changed_command_line_is_refused(&mut self) -> Result<(), BootTestError> {
        step("Somebody changes the kernel's command line");
        let disk = self.disks.changed.clone();
        let (booted, verdict) = self.boot("changed", &disk)?;
        let event = format!("verified: \"kernel_cmdline: /boot/vmlinuz {COMMAND_LINE} {ADDED}\"");
        self.refused(&booted, &verdict, &["golden_pcr=failed", "PCR 8", "event ", &event])
    }

    fn secure_boot_off_is_refused(&mut self) -> Result<(), BootTestError> {
        step("Somebody switches Secure Boot off and boots systemd-boot without a signature");
        self.change_pool(SECURE_BOOT)?;
        self.machine.set_secure_boot(false)?;
        let disk = self.disks.systemd_boot.clone();
        let (booted, verdict) = self.boot("unsigned", &disk)?;
        require(booted.event_log().is_some(), "a log that the kernel handed on", &verdict)?;
        self.refused(&booted, &verdict, &["secure_boot=failed", SECURE_BOOT_OFF])
    }

    /// GRUB 2.06 enters the kernel in a way in which no log is handed on unless Secure Boot is on; GRUB 2.12 does not.
    fn no_log_is_no_verdict(&mut self) -> Result<(), BootTestError> {
        step("Secure Boot is off, and Debian's GRUB starts the kernel");
        let disk = self.disks.reviewed.clone();
        let (booted, verdict) = self.boot("off", &disk)?;
        match booted.event_log() {
            None => {
                self.refused(&booted, &verdict, &["event_log_missing=failed", "indeterminate: no log"])?;
                let outcome = booted.file("outcome").unwrap_or_default();
                require(outcome == "without a verdict", "an agent that tries again later", &outcome)
            }
            Some(_) => self.refused(&booted, &verdict, &["secure_boot=failed", SECURE_BOOT_OFF]),
        }
    }

    /// The server refused this node, its line names all of `named`, and the agent serves nobody.
    fn refused(&self, booted: &Booted, verdict: &Verdict, named: &[&str]) -> Result<(), BootTestError> {
        require(!verdict.admitted() && verdict.serial().is_empty(), "a refusal", verdict)?;
        require(verdict.node() == self.node, "the same node", verdict)?;
        let text = format!("{} {}", verdict.checks(), verdict.reason());
        for name in named {
            require(text.contains(name), format_args!("a refusal that says {name:?}"), verdict)?;
        }
        let outcome = booted.file("outcome").unwrap_or_default();
        require(outcome != "healthy", "an agent that serves nobody", &outcome)?;
        say(format_args!("refused: {}", verdict.reason()));
        Ok(())
    }
}

impl Disks {
    fn make(scripts: &Path, work: &Path) -> Result<Self, BootTestError> {
        let packages = work.join("packages");
        let initrd = work.join("initrd.img");
        run(Command::new(scripts.join("initrd")).arg(&packages).arg(&initrd))?;
        let make = |name: &str, loader: &str, command_line: &str| {
            let disk = work.join(name).with_extension("disk");
            let mut command = Command::new(scripts.join("image"));
            run(command.arg(&packages).arg(&initrd).args([loader, command_line]).arg(&disk))?;
            Ok::<_, BootTestError>(disk)
        };
        Ok(Self {
            reviewed: make("reviewed", "grub", COMMAND_LINE)?,
            changed: make("changed", "grub", &format!("{COMMAND_LINE} {ADDED}"))?,
            systemd_boot: make("systemd-boot", "systemd-boot", COMMAND_LINE)?,
        })
    }
}

/// `plastron-agent tpm eventlog` leads from the log to the values that the guest's kernel read from the TPM, in each bank.
fn log_replays(booted: &Booted) -> Result<(), BootTestError> {
    let log = booted.event_log().unwrap_or_default();
    let mut command = Command::new(program("plastron-agent")?);
    let output = run(command.args(["tpm", "eventlog"]).arg(&log).args(["-output", "json"]))?.stdout;
    let malformed = || BootTestError::Malformed { path: log.display().to_string(), expected: "replayed PCR values" };
    let report: Value = serde_json::from_slice(&output).map_err(|_| malformed())?;
    for bank in BANKS {
        for index in BOOT_PCRS {
            let replayed = report.pointer(&format!("/pcrs/{bank}/{index}")).and_then(Value::as_str);
            let value = booted.pcr(bank, index)?;
            let expected = format!("PCR {index} of bank {bank} replayed to {value}, as the guest's kernel read it");
            require(replayed == Some(value.as_str()), expected, format!("it replays to {replayed:?}"))?;
        }
    }
    say(format_args!(
        "plastron-agent tpm eventlog replays that log to the guest's PCRs {BOOT_PCRS:?} in {}",
        BANKS.join(", ")
    ));
    Ok(())
}

/// The pool's lines that pin what was measured.
fn pins(booted: &Booted) -> Result<String, BootTestError> {
    let mut lines = String::new();
    for bank in PINNED_BANKS {
        let values = PINNED.map(|index| Ok(format!("\"{index}\" = [\"{}\"]", booted.pcr(bank, index)?)));
        let values = values.into_iter().collect::<Result<Vec<_>, BootTestError>>()?;
        lines.push_str(&format!("golden_pcrs \"{bank}\" {{\n{}\n}}\n", values.join("\n")));
    }
    Ok(lines)
}

/// The server admitted it, and the agent serves workloads.
fn admitted(booted: &Booted, verdict: &Verdict) -> Result<(), BootTestError> {
    require(verdict.admitted() && !verdict.serial().is_empty(), "an admission", verdict)?;
    let outcome = booted.file("outcome").unwrap_or_default();
    let agent = format!("it {outcome}: {}", booted.file("agent.log").unwrap_or_default());
    require(outcome == "healthy", "an agent that serves workloads in the guest", agent)?;
    say(format_args!("admitted: {}", verdict.node()));
    say(format_args!("agent SVID {}; the agent in the guest serves workloads", verdict.serial()));
    say(format_args!("checks: {}", verdict.checks()));
    Ok(())
}

fn require(holds: bool, expected: impl ToString, saw: impl ToString) -> Result<(), BootTestError> {
    if holds { Ok(()) } else { Err(BootTestError::NotProved { expected: expected.to_string(), saw: saw.to_string() }) }
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn say(text: impl std::fmt::Display) {
    println!("   {text}");
}
