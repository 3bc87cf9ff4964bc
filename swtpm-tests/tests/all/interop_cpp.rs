//! Workloads on grpc++ and OpenSSL: they take what the real agent hands out, by whichever authority grpc++ sends, while authorities are
//! replaced and another trust domain is made known to them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plastron_swtpm_tests::{Process, cpp_client};

use crate::interop_peers::two_trust_domains;
use crate::moved_authority::{Kind, move_on};
use crate::workloads::testbed::{PATIENCE, TRUST_DOMAIN, Testbed, own_uid};

fn spawn(program: &Path, endpoint: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(arguments).env("SPIFFE_ENDPOINT_SOCKET", endpoint);
    Process::spawn("grpc++", &command).unwrap()
}

/// How many lines say that something of this kind came.
fn came(workload: &Process, kind: &str) -> usize {
    workload.log().matches(&format!("{kind} came ")).count()
}

#[test]
fn grpc_cpp_validates_every_svid_and_token_while_authorities_move_on() {
    let program = cpp_client().unwrap();
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/cpp", &[&own_uid()], &[]);
    let mut workload = spawn(&program, &format!("unix:{}", agent.socket().display()), &["workload", "reports"]);
    let line = workload.wait_for_line("identity ", PATIENCE).unwrap();
    assert_eq!(line, format!("identity spiffe://{TRUST_DOMAIN}/cpp"));

    move_on(&bed, Kind::X509, || came(&workload, "x509 signer") > 1);
    workload.wait_for_line("x509 authority went ", PATIENCE).unwrap();
    move_on(&bed, Kind::Jwt, || came(&workload, "jwt signer") > 1);
    workload.wait_for_line("jwt key went ", PATIENCE).unwrap();

    let ended = workload.terminate(Duration::from_secs(30)).unwrap();
    assert!(ended.success(), "{}", workload.log());
    println!("{}", workload.log());
    assert_eq!([came(&workload, "x509 authority"), came(&workload, "jwt key")], [2, 2]);
}

#[test]
fn grpc_cpp_knows_a_workload_of_another_trust_domain_while_their_bundles_do() {
    let program = cpp_client().unwrap();
    two_trust_domains(|endpoint, arguments| spawn(&program, endpoint, arguments));
}
