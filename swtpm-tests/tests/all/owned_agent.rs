//! The real agent on a TPM that has an owner: values from files, wrong values, lockout, a resource manager.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plastron_swtpm_tests::{
    Attestor, EkKind, Manufacturer, ServerOptions, Swtpm, TestAgent, TestServer, behind_resource_manager, run, tool,
};

use crate::tap::Tap;

/// TPM_CC.
const CREATE_PRIMARY: u32 = 0x131;
const NV_READ: u32 = 0x14e;
const POLICY_SECRET: u32 = 0x151;
const CREATE: u32 = 0x153;

/// An attempt, and the pause before the next, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn server(kind: EkKind) -> TestServer {
    let tpms = Some((Manufacturer::shared().unwrap(), kind));
    TestServer::start(ServerOptions { tpms, ..ServerOptions::default() }).unwrap()
}

/// The lines that name two files with these values.
fn auth_lines(directory: &Path, endorsement: &str, owner: &str) -> String {
    let line = |hierarchy: &str, value: &str| {
        let path = directory.join(format!("{hierarchy}.auth"));
        fs::write(&path, format!("{value}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        format!("{hierarchy}_auth_file = \"{}\"\n", path.display())
    };
    line("endorsement", endorsement) + &line("owner", owner)
}

/// A TPM whose hierarchies have values, and whose EK certificate only the owner may read.
fn owned_tpm() -> Swtpm {
    let tpm = Swtpm::start().unwrap();
    let certificate = tpm.ek_certificate(EkKind::Rsa2048).unwrap();
    fs::write(tpm.directory().join("certificate"), &certificate).unwrap();
    let size = certificate.len().to_string();
    tpm.tpm2(&["nvundefine", "0x01c00002", "-C", "p"]).unwrap();
    tpm.tpm2(&["nvdefine", "0x01c00002", "-C", "o", "-s", &size, "-a", "ownerwrite|ownerread"]).unwrap();
    tpm.tpm2(&["nvwrite", "0x01c00002", "-C", "o", "-i", "certificate"]).unwrap();
    tpm.set_auth("endorsement", "endorsement-secret").unwrap();
    tpm.set_auth("owner", "owner-secret").unwrap();
    tpm
}

/// Waits for two attempts that fail with this text, and returns the second's line.
fn two_failures(agent: &mut TestAgent, text: &str) -> String {
    let (after, _) = agent.process().wait_for_line_after(0, text, PATIENCE).unwrap();
    let (_, line) = agent.process().wait_for_line_after(after, text, PATIENCE).unwrap();
    assert!(line.contains("Failed to attest"), "{line}");
    line
}

fn assert_no_failed_try(tpm: &Swtpm) {
    let properties = String::from_utf8(tpm.tpm2(&["getcap", "properties-variable"]).unwrap().stdout).unwrap();
    assert!(properties.contains("TPM2_PT_LOCKOUT_COUNTER: 0x0"), "{properties}");
}

/// Both values are needed: the endorsement hierarchy's to make the EK and to use it, the owner's to read its certificate.
#[test]
fn an_agent_enrols_with_the_values_of_the_owner() {
    let tpm = owned_tpm();
    tpm.tpm2(&["evictcontrol", "-C", "o", "-P", "owner-secret", "-c", "0x81010001"]).unwrap();
    let tap = Tap::on(&tpm);
    let server = server(EkKind::Rsa2048);
    let lines = auth_lines(tpm.directory(), "endorsement-secret", "owner-secret");
    let event_log = tpm.event_log_file();
    let attestor = Attestor::TpmAt { tcti: &tap.tcti(), kind: EkKind::Rsa2048, event_log: &event_log, lines: &lines };
    let _agent = TestAgent::start(&server, &attestor).unwrap();
    let listed = String::from_utf8(server.cli(&["agent", "list"]).unwrap().stdout).unwrap();
    assert!(listed.contains("/spire/agent/tpm/"), "{listed}");
    assert!(tap.count(CREATE_PRIMARY) > 0 && tap.count(POLICY_SECRET) > 0);
    for secret in ["endorsement-secret", "owner-secret"] {
        assert!(!tap.has_seen(secret.as_bytes()), "{secret}");
    }
    assert_no_failed_try(&tpm);
}

/// A wrong value goes to the TPM once, however often the agent tries again, and every attempt says which file to correct.
#[test]
fn a_wrong_value_is_tried_once_over_all_attempts() {
    let server = server(EkKind::Rsa2048);
    for (hierarchy, command, endorsement, owner) in [
        ("endorsement", POLICY_SECRET, "not-the-value", "owner-secret"),
        ("owner", NV_READ, "endorsement-secret", "not-the-value"),
    ] {
        let tpm = owned_tpm();
        let tap = Tap::on(&tpm);
        let lines = auth_lines(tpm.directory(), endorsement, owner);
        let (event_log, tcti) = (tpm.event_log_file(), tap.tcti());
        let attestor = Attestor::TpmAt { tcti: &tcti, kind: EkKind::Rsa2048, event_log: &event_log, lines: &lines };
        let mut agent = TestAgent::start_without_waiting(&server, &attestor).unwrap();
        let line = two_failures(&mut agent, &format!("the TPM refuses the {hierarchy} authorisation value"));
        assert!(line.contains(&format!("{hierarchy}.auth")) && line.contains("correct it and start"), "{line}");
        assert_eq!(tap.count(command), 1, "{hierarchy}");
        assert!(!tap.has_seen(b"not-the-value") && !agent.process().log().contains("not-the-value"));
        assert_no_failed_try(&tpm);
    }
}

/// The use of a high-range EK is what a lockout refuses. Every attempt says so, and sends the refused command once.
#[test]
fn an_agent_on_a_locked_tpm_waits() {
    let tpm = Swtpm::start().unwrap();
    tpm.tpm2(&["dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000"]).unwrap();
    tpm.tpm2(&["nvdefine", "0x01500001", "-s", "8", "-a", "authread|authwrite", "-p", "right"]).unwrap();
    tpm.tpm2(&["nvread", "0x01500001", "-P", "wrong"]).unwrap_err();
    let tap = Tap::on(&tpm);
    let server = server(EkKind::P384);
    let (event_log, tcti) = (tpm.event_log_file(), tap.tcti());
    let attestor = Attestor::TpmAt { tcti: &tcti, kind: EkKind::P384, event_log: &event_log, lines: "" };
    let mut agent = TestAgent::start_without_waiting(&server, &attestor).unwrap();
    two_failures(&mut agent, "indeterminate: tpm lockout");
    assert_eq!(tap.count(CREATE), 2);
    // Once the owner has ended the lockout, the agent enrols by itself.
    tpm.tpm2(&["dictionarylockout", "-c"]).unwrap();
    agent.wait_until_ready().unwrap();
}

/// Behind tpm2-abrmd too.
#[test]
fn an_agent_enrols_behind_a_resource_manager_of_an_owned_tpm() {
    behind_resource_manager(|tcti| {
        let mut change = Command::new(tool("tpm2").unwrap());
        change.args(["changeauth", "-c", "endorsement", "endorsement-secret"]).env("TPM2TOOLS_TCTI", tcti);
        run(&mut change).unwrap();
        let server = server(EkKind::Rsa2048);
        let directory = tempfile::tempdir().unwrap();
        let lines = auth_lines(directory.path(), "endorsement-secret", "unused");
        let event_log = directory.path().join("no-log");
        let attestor = Attestor::TpmAt { tcti, kind: EkKind::Rsa2048, event_log: &event_log, lines: &lines };
        let _agent = TestAgent::start(&server, &attestor).unwrap();
        let listed = String::from_utf8(server.cli(&["agent", "list"]).unwrap().stdout).unwrap();
        assert!(listed.contains("/spire/agent/tpm/"), "{listed}");
    })
    .unwrap();
}
