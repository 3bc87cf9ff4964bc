//! What an operator does about TPMs, on the real programs: let them in one by one, and revoke them.

use std::time::{Duration, Instant};

use plastron_swtpm_tests::{Attestor, EkKind, Manufacturer, ServerOptions, Swtpm, TRUST_DOMAIN, TestAgent, TestServer};

fn server(pool_lines: &str) -> TestServer {
    let tpms = Some((Manufacturer::shared().unwrap(), EkKind::P384));
    // The TPM's firmware wrote no log: nothing booted.
    let pool_lines = format!("missing_event_log = \"accept\"\n {pool_lines}");
    TestServer::start(ServerOptions { tpms, pool_lines, ..ServerOptions::default() }).unwrap()
}

fn waiting(server: &TestServer) -> Vec<serde_json::Value> {
    let output = server.cli(&["tpm", "pending", "list", "-output", "json"]).unwrap().stdout;
    let listed: serde_json::Value = serde_json::from_slice(&output).unwrap();
    listed["pending"].as_array().unwrap().clone()
}

#[test]
fn a_new_node_waits_until_an_operator_lets_it_in() {
    let server = server("new_nodes = \"approve\"");
    let tpm = Swtpm::start().unwrap();
    let mut agent = TestAgent::start_without_waiting(&server, &Attestor::Tpm(&tpm, EkKind::P384)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while waiting(&server).is_empty() {
        assert!(Instant::now() < deadline, "{}", agent.process().log());
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.process().wait_for_line("is pending: an operator has to approve it", Duration::from_secs(60)).unwrap();
    assert!(agent.cli(&["healthcheck"]).is_err());
    let row = waiting(&server).remove(0);
    let id = row["spiffe_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with(&format!("spiffe://{TRUST_DOMAIN}/spire/agent/tpm/")), "{row}");
    assert_eq!((row["state"].as_str(), row["asks_for"].as_str()), (Some("pending"), Some("new node")));
    assert!(server.cli(&["tpm", "pending", "approve", "-spiffeID", &id]).is_err(), "a reason is required");
    server.cli(&["tpm", "pending", "approve", "-spiffeID", &id, "-reason", "seen in rack 7"]).unwrap();
    agent.wait_until_ready().unwrap();
    assert!(waiting(&server).is_empty());
    let shown = server.cli(&["agent", "show", "-spiffeID", &id]).unwrap().stdout;
    assert!(String::from_utf8(shown).unwrap().contains(&id));
}

/// A copy of the TPM's state and of its AK answers for the node after the original went on. The node is quarantined, whichever of the two
/// asks next, until an operator evicts it; then the original enrols anew.
///
/// Threat 14
#[test]
fn a_copied_tpm_is_quarantined_until_an_operator_evicts_the_node() {
    let mut server = server("");
    let tpm = Swtpm::start().unwrap();
    let mut original = TestAgent::start(&server, &Attestor::Tpm(&tpm, EkKind::P384)).unwrap();
    let id = the_only_agent(&server);
    let copied = tpm.clone_state().unwrap();
    original.terminate().unwrap();
    tpm.reboot().unwrap();
    tpm.reboot().unwrap();
    // Evicted, it attests from its AK alone, in the boot that it is in now.
    server.cli(&["agent", "evict", "-spiffeID", &id]).unwrap();
    original.start_again().unwrap();
    assert_eq!(the_only_agent(&server), id);

    let attestor = Attestor::Tpm(&copied, EkKind::P384);
    let mut copy = original.start_copy(&server, &attestor).unwrap();
    let patience = Duration::from_secs(60);
    server.process().wait_for_line("refused: tpm_state_regressed: the TPM went back", patience).unwrap();
    copy.terminate().unwrap();
    // The original is cut off with the copy: the server can't tell which is which.
    server.process().wait_for_line("standing: the node is in quarantine", patience).unwrap();
    assert!(original.process().is_running(), "{}", original.process().log());

    server.cli(&["agent", "evict", "-spiffeID", &id]).unwrap();
    original.terminate().unwrap();
    original.start_again().unwrap();
    assert_eq!(the_only_agent(&server), id);
}

fn the_only_agent(server: &TestServer) -> String {
    let output = server.cli(&["agent", "list", "-output", "json"]).unwrap().stdout;
    let listed: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let [agent] = listed["agents"].as_array().unwrap().as_slice() else { unreachable!("{listed}") };
    let id = &agent["id"];
    format!("spiffe://{}{}", id["trust_domain"].as_str().unwrap(), id["path"].as_str().unwrap())
}
