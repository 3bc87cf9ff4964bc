//! Nodes that were given a certificate, on the real programs, with a PKI that OpenSSL made.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{Attestor, ServerOptions, TRUST_DOMAIN, TestAgent, TestServer, tool};
use tempfile::TempDir;

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(tool("openssl").unwrap()).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `ca.pem`, and a node's key and certificate below it.
pub(crate) fn pki(key: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    openssl(
        at,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=Racks",
            "-days",
            "30",
        ],
    );
    issue(at, key, "node-7");
    directory
}

fn issue(at: &Path, key: &[&str], name: &str) {
    let subject = format!("/CN={name}");
    let request = ["req", "-new", "-nodes", "-keyout", "node.key.pem", "-out", "node.csr", "-subj", &subject];
    openssl(at, &[&request[..], key].concat());
    std::fs::write(
        at.join("extensions"),
        "keyUsage=critical,digitalSignature\nsubjectAltName=URI:x509pop://testbed.example/rack/r1\n",
    )
    .unwrap();
    let sign = [
        "x509",
        "-req",
        "-in",
        "node.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "node.crt.pem",
    ];
    openssl(at, &[&sign[..], &["-days", "20", "-extfile", "extensions"]].concat());
}

fn server(pki: &Path, lines: &str) -> TestServer {
    let plugin_lines = format!(
        "NodeAttestor \"x509pop\" {{\n plugin_data {{\n ca_bundle_path = \"{}\"\n {lines}\n }}\n }}",
        pki.join("ca.pem").display()
    );
    let server_lines = "default_x509_svid_ttl = \"1h\"\n agent_ttl = \"24s\"".to_owned();
    TestServer::start(ServerOptions { plugin_lines, server_lines, ..ServerOptions::default() }).unwrap()
}

fn agents(server: &TestServer) -> serde_json::Value {
    let listed = server.cli(&["agent", "list", "-output", "json"]).unwrap().stdout;
    serde_json::from_slice::<serde_json::Value>(&listed).unwrap()["agents"].clone()
}

#[test]
fn a_node_with_a_certificate_is_admitted_attests_again_and_serves_its_workload() {
    for (key, lines, expected) in [
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"][..], "", "/spire/agent/x509pop/"),
        (
            &["-newkey", "rsa:2048"][..],
            "agent_path_template = \"/x509pop/cn/{{ .Subject.CommonName }}\"",
            "/spire/agent/x509pop/cn/node-7",
        ),
    ] {
        let pki = pki(key);
        let server = server(pki.path(), lines);
        let mut agent = TestAgent::start(&server, &Attestor::Certificate(pki.path())).unwrap();
        let listed = agents(&server);
        let path = listed[0]["id"]["path"].as_str().unwrap().to_owned();
        assert!(path.starts_with(expected), "{listed}");
        assert_eq!(listed[0]["can_reattest"], true, "{listed}");
        let selectors: Vec<_> =
            listed[0]["selectors"].as_array().unwrap().iter().filter_map(|one| one["value"].as_str()).collect();
        let ca = openssl(pki.path(), &["x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha1"]);
        let ca = ca.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
        for expected in ["subject:cn:node-7".to_owned(), format!("ca:fingerprint:{ca}")] {
            assert!(selectors.contains(&expected.as_str()), "{expected} in {selectors:?}");
        }

        let parent = format!("spiffe://{TRUST_DOMAIN}{path}");
        let id = format!("spiffe://{TRUST_DOMAIN}/workload");
        let selector = format!("unix:uid:{}", rustix::process::getuid().as_raw());
        server.cli(&["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &selector]).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while agent.cli(&["api", "fetch", "x509"]).is_err() {
            assert!(Instant::now() < until, "no SVID");
            std::thread::sleep(Duration::from_millis(200));
        }
        // Half of the agent's SVID's life is over: it attests again, with the same certificate.
        agent.process().wait_for_line("Reattesting node", Duration::from_secs(40)).unwrap();
        agent.process().wait_for_line("Successfully reattested node", Duration::from_secs(40)).unwrap();
        assert!(agent.terminate().unwrap().success());
    }
}

#[test]
fn a_node_with_a_certificate_of_another_ca_is_refused_by_name() {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (trusted, other) = (pki(&key), pki(&key));
    let mut server = server(trusted.path(), "");
    let mut agent = TestAgent::start_without_waiting(&server, &Attestor::Certificate(other.path())).unwrap();
    let refusal = server.process().wait_for_line("certificate_path=failed", Duration::from_secs(30)).unwrap();
    assert!(refusal.contains("audit") && refusal.contains("x509pop"), "{refusal}");
    agent.process().wait(Duration::from_secs(30)).unwrap();
    assert_eq!(agents(&server), serde_json::json!([]));
}
