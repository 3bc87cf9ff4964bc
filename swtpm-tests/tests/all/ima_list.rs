//! The kernel's IMA list on its way from a node's file to the verdict, on the real programs and a real TPM.

use std::fs;
use std::time::Duration;

use plastron_attestation_fake_tpm::ima_list::{ImaListBuilder, Kernel, ng};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_swtpm_tests::{Attestor, EkKind, Manufacturer, ServerOptions, Swtpm, TestAgent, TestServer};

const PATIENCE: Duration = Duration::from_secs(60);

fn server() -> TestServer {
    let tpms = Some((Manufacturer::shared().unwrap(), EkKind::Rsa2048));
    let pool_lines = "missing_event_log = \"accept\"\nima = \"require\"".to_owned();
    TestServer::start(ServerOptions { tpms, pool_lines, ..ServerOptions::default() }).unwrap()
}

/// A list of a kernel that found PCR 0 to 9 untouched, as they are where no firmware measures.
fn list() -> ImaListBuilder {
    let mut list = ImaListBuilder::new(Kernel::Linux6_12);
    let aggregate = HashAlgorithm::Sha256.digest([[0; 320].as_slice()]);
    list.entry("ima-ng", &ng(HashAlgorithm::Sha256, &aggregate, "boot_aggregate")).file("/sbin/init", b"init");
    list
}

/// The kernel at work, in the banks that swtpm has.
fn extend(tpm: &Swtpm, list: &ImaListBuilder) {
    for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        list.extensions(bank).for_each(|digest| tpm.extend_pcr(10, bank.name(), &digest).unwrap());
    }
}

fn start(server: &TestServer, tpm: &Swtpm) -> TestAgent {
    let (event_log, tcti) = (tpm.event_log_file(), tpm.tcti());
    let lines = format!("ima_log_path = \"{}\"", tpm.directory().join("ima_list").display());
    let attestor = Attestor::TpmAt { tcti: &tcti, kind: EkKind::Rsa2048, event_log: &event_log, lines: &lines };
    TestAgent::start_without_waiting(server, &attestor).unwrap()
}

#[test]
fn a_node_whose_pool_wants_its_list_waits_until_it_has_one() {
    let (mut server, tpm) = (server(), Swtpm::start().unwrap());
    let mut agent = start(&server, &tpm);
    let line = server.process().wait_for_line("ima_list_missing=failed(indeterminate: no IMA list", PATIENCE).unwrap();
    assert!(line.contains("verdict=indeterminate"), "{line}");
    let list = list();
    extend(&tpm, &list);
    fs::write(tpm.directory().join("ima_list"), list.bytes()).unwrap();
    agent.wait_until_ready().unwrap();
    let line = server.process().wait_for_line("ima_list=passed(2 of 2 entries", PATIENCE).unwrap();
    assert!(line.contains("ima_boot_aggregate=passed") && line.contains("verdict=trusted"), "{line}");
}

#[test]
fn a_file_that_the_list_hides_is_refused() {
    let (mut server, tpm) = (server(), Swtpm::start().unwrap());
    let mut hidden = list();
    hidden.file("/tmp/rootkit", b"rootkit");
    extend(&tpm, &hidden);
    fs::write(tpm.directory().join("ima_list"), list().bytes()).unwrap();
    let _agent = start(&server, &tpm);
    let line = server.process().wait_for_line("ima_list=failed(", PATIENCE).unwrap();
    assert!(line.contains("PCR 10") && line.contains("verdict=untrusted"), "{line}");
}
