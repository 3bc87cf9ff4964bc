//! A workload on grpc-netty: it names the socket's path as its authority, and Java's own TLS takes what the real agent hands out.

use std::process::Command;

use plastron_swtpm_tests::{Process, java_workload, tool};

use crate::moved_authority::{Kind, move_on};
use crate::workloads::testbed::{PATIENCE, TRUST_DOMAIN, Testbed, own_uid};

#[test]
fn grpc_netty_validates_every_svid_while_the_authority_moves_on() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/java", &[&own_uid()], &[]);
    let (packages, source) = java_workload().unwrap();
    let mut command = Command::new(tool("java").unwrap());
    command.arg("-cp").arg(packages).arg(source).arg(agent.socket()).args(["reports", "2"]);
    let mut workload = Process::spawn("java", &command).unwrap();
    workload.wait_for_line(&format!("svid 1 of spiffe://{TRUST_DOMAIN}/java"), PATIENCE).unwrap();
    move_on(&bed, Kind::X509, || workload.log().contains("svid 2 of "));
    let ended = workload.wait(PATIENCE).unwrap();
    println!("{}", workload.log());
    assert!(ended.success(), "{}", workload.log());
}
