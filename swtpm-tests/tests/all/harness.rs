//! The harness itself does what it says.

use std::process::Command;
use std::time::Duration;

use plastron_swtpm_tests::{EkKind, HarnessError, Process, SoftHsm, Swtpm, in_own_process, program, tool};

#[test]
fn a_tpm_answers_and_counts_its_resets() {
    let tpm = Swtpm::start().unwrap();
    let clock = || String::from_utf8(tpm.tpm2(&["readclock"]).unwrap().stdout).unwrap();
    let count = |text: &str, name: &str| -> u32 {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.trim().parse().unwrap()
    };
    let before = count(&clock(), "reset_count");
    tpm.reboot().unwrap();
    assert_eq!(count(&clock(), "reset_count"), before + 1);
    tpm.power_cut().unwrap();
    assert_eq!(count(&clock(), "reset_count"), before + 2);
    tpm.suspend_and_resume().unwrap();
    assert_eq!(count(&clock(), "reset_count"), before + 2);
    assert_eq!(count(&clock(), "restart_count"), 1);
}

#[test]
fn a_clone_has_the_same_ek_and_another_tpm_has_another() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    let clone = tpm.clone_state().unwrap();
    let ek = |tpm: &Swtpm| {
        tpm.tpm2(&["readpublic", "-c", "0x81010001", "-o", "ek.pub", "-Q"]).unwrap();
        std::fs::read(tpm.directory().join("ek.pub")).unwrap()
    };
    assert_eq!(ek(&tpm), ek(&clone));
    assert_ne!(ek(&tpm), ek(&other));
    assert_ne!(tpm.ek_certificate(EkKind::P384).unwrap(), tpm.ek_certificate(EkKind::Rsa2048).unwrap());
    assert!(!tpm.manufacturer().root_der().unwrap().is_empty());
    assert_ne!(tpm.manufacturer().root_der().unwrap(), tpm.manufacturer().intermediate_der().unwrap());
}

#[test]
fn a_pcr_is_extended_in_one_bank_only() {
    let tpm = Swtpm::start().unwrap();
    let read = |bank: &str| tpm.tpm2(&["pcrread", &format!("{bank}:7")]).unwrap().stdout;
    let (sha1, sha256) = (read("sha1"), read("sha256"));
    tpm.extend_pcr(7, "sha256", &[7; 32]).unwrap();
    assert_eq!(read("sha1"), sha1);
    assert_ne!(read("sha256"), sha256);
}

#[test]
fn a_token_is_there_in_a_process_of_its_own() {
    in_own_process(|token| {
        assert_eq!(std::env::var_os("SOFTHSM2_CONF").unwrap(), token.conf().into_os_string());
        let objects = token.pkcs11_tool(&["--list-objects"]).unwrap();
        assert!(objects.status.success());
    })
    .unwrap();
}

#[test]
fn a_failure_in_the_own_process_is_a_failure() {
    let outcome = in_own_process(|token: SoftHsm| assert_eq!(token.label(), "another"));
    assert!(matches!(outcome, Err(HarnessError::OwnProcess { .. })));
}

#[test]
fn a_process_is_watched_and_does_not_outlive_its_owner() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; sleep 600"]);
    let mut process = Process::spawn("sleeper", &command).unwrap();
    assert_eq!(process.wait_for_line("rea", Duration::from_secs(20)).unwrap(), "ready");
    let pid = process.pid();
    assert!(process.is_running());
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_is_missing_says_what_to_do() {
    assert!(program("no-such-program").unwrap_err().to_string().contains("cargo build"));
    assert!(tool("no-such-tool").unwrap_err().to_string().contains("not installed"));
}
