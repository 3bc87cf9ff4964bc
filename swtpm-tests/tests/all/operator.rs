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
