//! A real load balancer before the server's port: HAProxy, which says in PROXY protocol for whom it connects. It has an address of its own,
//! so that one is told from the other: 127.0.0.2, where agents have 127.0.0.1.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use plastron_swtpm_tests::{Attestor, Process, ServerOptions, TestAgent, TestServer, Upstream, tool};
use serde_json::Value;

use crate::workloads::testbed::{PATIENCE, eventually};

/// A balancer that passes connections on to this port, and with this option says for whom.
fn balancer(directory: &Path, to: u16, option: &str) -> (Process, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let config = directory.join("haproxy.cfg");
    let text = format!(
        "global\n  no-memory-trimming\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen balanced\n  bind 127.0.0.1:{port}\n  source 127.0.0.2\n  server plastron 127.0.0.1:{to} {option}\n",
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(tool("haproxy").unwrap());
    command.arg("-f").arg(&config);
    let process = Process::spawn("haproxy", &command).unwrap();
    eventually("the balancer to listen", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    (process, port)
}

/// A server that believes balancers in this network.
fn server(trusted: &str) -> TestServer {
    let server_lines = format!("proxy_protocol_trusted_cidrs = [\"{trusted}\"]");
    TestServer::start(ServerOptions { server_lines, ..ServerOptions::default() }).unwrap()
}

fn agents(server: &TestServer) -> usize {
    let output = server.cli(&["agent", "list", "-output", "json"]).unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["agents"].as_array().map_or(0, Vec::len)
}

#[test]
fn behind_haproxy_the_audit_log_has_the_agents_address() {
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id"] {
        let mut server = server("127.0.0.2/32");
        let directory = tempfile::tempdir().unwrap();
        let (_balancer, port) = balancer(directory.path(), server.port(), option);
        let bundle = server.bundle_file();
        let upstream = Upstream { port, ..server.upstream(&bundle) };
        let _agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(server.join_token().unwrap())).unwrap();
        let admitted = server.process().wait_for_line("Node admitted", PATIENCE).unwrap();
        assert!(admitted.contains("peer=127.0.0.1 "), "{option}: {admitted}");
        assert_eq!(agents(&server), 1);
        // Whoever comes without a balancer says nothing of the kind, and is itself.
        let _direct = TestAgent::start(&server, &Attestor::JoinToken(server.join_token().unwrap())).unwrap();
        assert_eq!(agents(&server), 2);
    }
}

/// A balancer that says nothing is taken for its clients: a header may be missing, as with SPIRE.
#[test]
fn a_balancer_without_the_protocol_is_known_by_its_own_address() {
    let mut server = server("127.0.0.2/32");
    let directory = tempfile::tempdir().unwrap();
    let (_balancer, port) = balancer(directory.path(), server.port(), "");
    let bundle = server.bundle_file();
    let upstream = Upstream { port, ..server.upstream(&bundle) };
    let _agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(server.join_token().unwrap())).unwrap();
    let admitted = server.process().wait_for_line("Node admitted", PATIENCE).unwrap();
    assert!(admitted.contains("peer=127.0.0.2 "), "{admitted}");
}

/// Threat 60
#[test]
fn a_header_from_outside_the_trusted_networks_is_refused() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let mut server = server("127.0.0.3/32");
        let directory = tempfile::tempdir().unwrap();
        let (_balancer, port) = balancer(directory.path(), server.port(), option);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // As a TLS connection begins.
        stream.write_all(b"\x16\x03\x01").unwrap();
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{option}: not even an alert comes back: {answer:?}");
        let refused = server.process().wait_for_line("from outside proxy_protocol_trusted_cidrs", PATIENCE).unwrap();
        assert!(refused.contains("address=\"127.0.0.2:") && refused.contains("connection refused"), "{refused}");
        // Whoever speaks for itself is served.
        let _direct = TestAgent::start(&server, &Attestor::JoinToken(server.join_token().unwrap())).unwrap();
        let admitted = server.process().wait_for_line("Node admitted", PATIENCE).unwrap();
        assert!(admitted.contains("peer=127.0.0.1 "), "{admitted}");
    }
}
