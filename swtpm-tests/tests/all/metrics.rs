//! What Prometheus fetches from both programs while a node enrols and a workload is served: SPIRE's names and labels. The names below were
//! read off SPIRE's own programs doing the same.

mod receivers;
pub(crate) mod told;

use std::time::{Duration, Instant};

use plastron_swtpm_tests::{Attestor, ServerOptions, TRUST_DOMAIN, TestAgent, TestServer, Upstream};

use told::{free_port, scrape, value};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until each of these is there and more than zero.
fn await_all(port: u16, wanted: &[(&str, &[&str])]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, body) = scrape(port);
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(name, labels)| value(&body, name, labels).is_none_or(|value| value <= 0.0))
            .collect();
        if missing.is_empty() {
            return body;
        }
        assert!(Instant::now() < deadline, "missing {missing:?} in\n{body}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn both_programs_show_what_they_do_by_spires_names() {
    let (server_port, agent_port) = (free_port(), free_port());
    let blocks = format!("telemetry {{ Prometheus {{ port = {server_port} }} InMem {{}} }}");
    let mut server = TestServer::start(ServerOptions { blocks, ..ServerOptions::default() }).unwrap();
    let token = server.join_token().unwrap();
    let bundle_file = server.bundle_file();
    let lines = format!(
        "}}\ntelemetry {{ Prometheus {{ port = {agent_port} }} EnableTrustDomainLabel = true EnableHostnameLabel = false"
    );
    let upstream = Upstream { lines: &lines, ..server.upstream(&bundle_file) };
    let agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(token.clone())).unwrap();
    let parent = format!("spiffe://{TRUST_DOMAIN}/spire/agent/join_token/{token}");
    let id = format!("spiffe://{TRUST_DOMAIN}/workload");
    let selector = format!("unix:uid:{}", rustix::process::getuid().as_raw());
    let entry = ["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &selector];
    server.cli(&entry).unwrap();
    assert!(server.cli(&["entry", "show", "-entryID", "no-such-entry"]).is_err());
    let deadline = Instant::now() + PATIENCE;
    while agent.cli(&["api", "fetch", "x509"]).is_err() {
        assert!(Instant::now() < deadline, "no SVID");
        std::thread::sleep(Duration::from_millis(200));
    }

    let host = format!("host=\"{}\"", rustix::system::uname().nodename().to_str().unwrap());
    let ok = [host.as_str(), "status=\"OK\""];
    let domain = format!("trust_domain_id=\"{}\"", TRUST_DOMAIN.replace('.', "_"));
    let body = await_all(
        server_port,
        &[
            ("spire_server_rpc_agent_v1_agent_attest_agent", &ok),
            ("spire_server_rpc_agent_v1_agent_attest_agent_elapsed_time_count", &ok),
            ("spire_server_rpc_agent_v1_agent_attest_agent_elapsed_time_sum", &ok),
            ("spire_server_rpc_entry_v1_entry_batch_create_entry", &ok),
            ("spire_server_rpc_entry_v1_entry_get_entry", &[&host, "status=\"NotFound\""]),
            ("spire_server_rpc_bundle_v1_bundle_get_bundle", &ok),
            ("spire_server_rpc_svid_v1_svid_batch_new_x509svid", &ok),
            ("spire_server_rpc_entry_v1_entry_sync_authorized_entries", &ok),
            ("spire_server_datastore_registration_entry_create", &ok),
            ("spire_server_datastore_node_create", &ok),
            ("spire_server_datastore_join_token_create", &ok),
            ("spire_server_datastore_bundle_append", &ok),
            ("spire_server_ca_manager_x509_ca_prepare", &ok),
            ("spire_server_ca_manager_x509_ca_activate", &[&host]),
            ("spire_server_ca_manager_jwt_key_prepare", &ok),
            ("spire_server_manager_jwt_key_activate", &[&host]),
            ("spire_server_manager_x509_ca_rotate_expiration", &[&domain]),
            ("spire_server_manager_x509_ca_rotate_ttl", &[&domain]),
            ("spire_server_server_ca_sign_x509_svid", &[&host]),
            ("spire_server_server_key_manager_generate_key", &ok),
            ("spire_server_server_key_manager_sign_data", &ok),
            ("spire_server_started", &[&domain, "version=\""]),
            ("spire_server_uptime_in_ms", &[&host]),
        ],
    );
    assert!(body.contains("# TYPE spire_server_rpc_agent_v1_agent_attest_agent counter\n"), "{body}");
    assert!(body.contains("# TYPE spire_server_rpc_agent_v1_agent_attest_agent_elapsed_time summary\n"), "{body}");
    assert!(body.contains("attest_agent_elapsed_time{") && body.contains("quantile=\"0.99\""), "{body}");
    assert_eq!(value(&body, "spire_server_datastore_node_create", &ok), Some(1.0), "{body}");
    let (head, _) = scrape(server_port);
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");

    let domain = format!("trust_domain=\"{}\"", TRUST_DOMAIN.replace('.', "_"));
    let ok = [domain.as_str(), "status=\"OK\""];
    let body = await_all(
        agent_port,
        &[
            ("spire_agent_rpc_workload_api_fetch_x509svid", &[&domain]),
            ("spire_agent_workload_api_connection", &[&domain]),
            ("spire_agent_workload_api_workload_attestation", &ok),
            ("spire_agent_workload_api_workload_attestor", &[&domain, "attestor=\"unix\"", "status=\"OK\""]),
            ("spire_agent_workload_api_discovered_selectors_sum", &[&domain]),
            ("spire_agent_node_attestor_new_svid", &[&domain, "attestor=\"join_token\"", "status=\"OK\""]),
            ("spire_agent_manager_sync_fetch_entries_updates", &ok),
            ("spire_agent_manager_sync_fetch_svids_updates", &ok),
            ("spire_agent_lru_cache_entry_add", &[&domain]),
            ("spire_agent_lru_cache_record_map_size", &[&domain, "svid_type=\"X509\""]),
            ("spire_agent_lru_cache_svid_map_size", &[&domain, "svid_type=\"X509\""]),
            ("spire_agent_started", &[&domain]),
            ("spire_agent_uptime_in_ms", &[&domain]),
        ],
    );
    assert!(!body.contains("host=\""), "{body}");
    // Whoever has gone counts no more.
    assert_eq!(value(&body, "spire_agent_workload_api_connections", &[&domain]), Some(0.0), "{body}");

    // A server that finds its CA shows its end as well as one that made it.
    let ends = |body: &str| value(body, "spire_server_manager_x509_ca_rotate_expiration", &[]);
    let made = ends(&scrape(server_port).1);
    server.terminate().unwrap();
    server.start_again().unwrap();
    let body = await_all(server_port, &[("spire_server_manager_x509_ca_rotate_ttl", &[])]);
    assert_eq!((ends(&body), value(&body, "spire_server_ca_manager_x509_ca_activate", &[])), (made, None), "{body}");
}
