//! Workloads on PyPI's `spiffe`: it takes what the real agent hands out, and `cryptography` and PyJWT validate it while authorities are
//! rotated.

use std::path::PathBuf;
use std::process::Command;

use plastron_swtpm_tests::{Process, python_peer, python_workload};

use crate::interop_go::{ROTATION, SHORT_LIVES, numbers};
use crate::interop_peers::two_trust_domains;
use crate::workloads::testbed::{Agent, PATIENCE, TRUST_DOMAIN, Testbed, own_uid};

fn spawn(name: &str, agent: &Agent, arguments: &[&str]) -> Process {
    let endpoint = format!("unix:{}", agent.socket().display());
    start(name, python_workload().unwrap(), &endpoint, arguments)
}

fn start(name: &str, (python, script): (PathBuf, PathBuf), endpoint: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(python);
    command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SPIFFE_ENDPOINT_SOCKET", endpoint);
    Process::spawn(name, &command).unwrap()
}

#[test]
fn python_spiffe_validates_every_svid_over_rotations() {
    let bed = Testbed::start(SHORT_LIVES);
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/py", &[&own_uid()], &[]);
    let seconds = ROTATION.as_secs().to_string();
    let mut x509 = spawn("python x509", &agent, &["x509", &seconds]);
    let line = x509.wait_for_line("x509 done: ", ROTATION + PATIENCE).unwrap();
    println!("{}", x509.log());
    let [rounds, svids, signers, authorities] = numbers(&line)[..] else { unreachable!("{line}") };
    assert!(rounds > 50 && svids >= 5 && signers >= 2 && authorities >= 3, "{line}");
    assert!(x509.log().contains(&format!("x509 identity spiffe://{TRUST_DOMAIN}/py")), "{}", x509.log());
}

#[test]
fn python_spiffe_validates_every_token_over_rotations() {
    let bed = Testbed::start(SHORT_LIVES);
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/py", &[&own_uid()], &[]);
    let seconds = ROTATION.as_secs().to_string();
    // It does not wait for the entry to reach the agent, as its X509Source does.
    let mut first = spawn("python x509", &agent, &["x509", "1"]);
    first.wait_for_line("x509 done: ", PATIENCE).unwrap();
    let mut jwt = spawn("python jwt", &agent, &["jwt", "reports", &seconds]);
    let line = jwt.wait_for_line("jwt done: ", ROTATION + PATIENCE).unwrap();
    println!("{}", jwt.log());
    let [rounds, tokens, signers, authorities] = numbers(&line)[..] else { unreachable!("{line}") };
    assert!(rounds > 50 && tokens >= 5 && signers >= 2 && authorities >= 3, "{line}");
}

#[test]
fn python_spiffe_knows_a_workload_of_another_trust_domain_while_their_bundles_do() {
    let peer = python_peer().unwrap();
    two_trust_domains(|endpoint, arguments| start("python peer", peer.clone(), endpoint, arguments));
}
