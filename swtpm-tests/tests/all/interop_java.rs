//! Workloads on grpc-netty: they name the socket's path as their authority, and Java's own TLS and cryptography take what the real agent
//! hands out.

use std::ffi::OsStr;
use std::process::Command;

use plastron_swtpm_tests::{Process, java_workload, tool};

use crate::interop_peers::two_trust_domains;
use crate::moved_authority::{Kind, move_on};
use crate::workloads::testbed::{PATIENCE, TRUST_DOMAIN, Testbed, own_uid};

fn spawn(class_path: &OsStr, class: &str, endpoint: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(tool("java").unwrap());
    // It starts in a fraction of the time, of which a test has several of them at once.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]);
    command.arg("-cp").arg(class_path).arg(class).arg(endpoint).args(arguments);
    Process::spawn(class, &command).unwrap()
}

#[test]
fn grpc_netty_validates_every_svid_and_token_while_authorities_move_on() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/java", &[&own_uid()], &[]);
    let socket = agent.socket();
    let mut workload = spawn(&java_workload().unwrap(), "Workload", socket.to_str().unwrap(), &["reports", "2"]);
    workload.wait_for_line(&format!("svid 1 of spiffe://{TRUST_DOMAIN}/java"), PATIENCE).unwrap();
    move_on(&bed, Kind::X509, || workload.log().contains("svid 2 of "));
    workload.wait_for_line("jwt signer 1 ", PATIENCE).unwrap();
    move_on(&bed, Kind::Jwt, || workload.log().contains("jwt signer 2 "));
    let ended = workload.wait(PATIENCE).unwrap();
    println!("{}", workload.log());
    assert!(ended.success(), "{}", workload.log());
}

#[test]
fn grpc_netty_knows_a_workload_of_another_trust_domain_while_their_bundles_do() {
    let class_path = java_workload().unwrap();
    two_trust_domains(|endpoint, arguments| spawn(&class_path, "Peer", endpoint, arguments));
}
