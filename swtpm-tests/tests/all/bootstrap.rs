//! Whom an agent believes before its server tells it, and after its server lost its CA: the real programs, each source and each mode.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use plastron_swtpm_tests::{Attestor, ServerOptions, TRUST_DOMAIN, TestAgent, TestServer, Upstream};

use crate::federation::make_certificate;
use crate::spire_kit::{PATIENCE, eventually, own_selector};
use crate::x509pop::pki;

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A server that takes the certificates of this PKI; `lines` are further ones of its `server` block.
fn server(pki: &Path, lines: &str) -> TestServer {
    let ca = pki.join("ca.pem");
    TestServer::start(ServerOptions {
        plugin_lines: format!("NodeAttestor \"x509pop\" {{ plugin_data {{ ca_bundle_path = \"{}\" }} }}", ca.display()),
        server_lines: lines.to_owned(),
        ..ServerOptions::default()
    })
    .unwrap()
}

/// An agent that has no `trust_bundle_path` but these lines.
fn begin(server: &TestServer, pki: &Path, environment: &[(&str, &str)], lines: &str) -> TestAgent {
    let upstream = Upstream { lines, ..server.upstream(Path::new("")) };
    TestAgent::start_in_without_waiting(environment, &upstream, &Attestor::Certificate(pki)).unwrap()
}

fn only_agent(server: &TestServer) -> String {
    let listed = server.cli(&["agent", "list", "-output", "json"]).unwrap().stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let path = listed["agents"][0]["id"]["path"].as_str().unwrap_or_else(|| panic!("{listed}"));
    format!("spiffe://{TRUST_DOMAIN}{path}")
}

fn register(server: &TestServer, name: &str) {
    let (parent, id) = (only_agent(server), format!("spiffe://{TRUST_DOMAIN}/{name}"));
    let entry = ["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &own_selector()];
    server.cli(&entry).unwrap();
}

/// The ID that a workload of this user gets.
fn id(agent: &TestAgent) -> Option<String> {
    let printed = agent.cli(&["api", "fetch", "x509", "-output", "json"]).ok()?.stdout;
    let response: serde_json::Value = serde_json::from_slice(&printed).ok()?;
    response["svids"][0]["spiffe_id"].as_str().map(str::to_owned)
}

/// What a server with its bundle at `https://localhost:<port>/` needs, and the roots that verify it.
struct Web {
    directory: tempfile::TempDir,
    port: u16,
}

impl Web {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_certificate(directory.path(), "web");
        make_certificate(directory.path(), "other");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self { directory, port }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn endpoint(&self) -> String {
        format!(
            "federation {{ bundle_endpoint {{ address = \"127.0.0.1\" port = {} profile \"https_web\" {{ serving_cert_file {{
             cert_file_path = \"{}\" key_file_path = \"{}\" }} }} }} }}",
            self.port,
            self.file("web.pem"),
            self.file("web.key")
        )
    }

    fn lines(&self, host: &str) -> String {
        format!("trust_bundle_url = \"https://{host}:{}/\"\n trust_bundle_format = \"spiffe\"", self.port)
    }
}

/// Threat 63
#[test]
fn a_bundle_comes_from_a_url_whose_server_the_systems_roots_verify() {
    let (pki, web) = (pki(&KEY), Web::new());
    let server = server(pki.path(), &web.endpoint());
    let (roots, others) = (web.file("web.ca.pem"), web.file("other.ca.pem"));
    let nowhere = "/nonexistent";
    for (what, file, directory, host, reason) in [
        ("another authority", others.as_str(), nowhere, "localhost", "UnknownIssuer"),
        ("another name", roots.as_str(), nowhere, "127.0.0.1", "not valid for name"),
        ("no roots", nowhere, nowhere, "localhost", "set SSL_CERT_FILE"),
    ] {
        let environment = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)];
        let mut agent = begin(&server, pki.path(), &environment, &web.lines(host));
        let said = agent.process().wait_for_line("Failed to attest", PATIENCE).unwrap();
        let url = format!("https://{host}:{}/", web.port);
        assert!(said.contains(reason) && said.contains(&url), "{what}: {said}");
    }
    // PEM is not what a bundle endpoint answers.
    let pem = web.lines("localhost").replace("spiffe", "pem");
    let mut agent = begin(&server, pki.path(), &[("SSL_CERT_FILE", &roots)], &pem);
    let said = agent.process().wait_for_line("Failed to attest", PATIENCE).unwrap();
    assert!(said.contains("trust_bundle_format"), "{said}");
    drop(agent);
    let listed = server.cli(&["agent", "count"]).unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&listed).trim(), "0 attested agents");

    let mut agent = begin(&server, pki.path(), &[("SSL_CERT_FILE", &roots)], &web.lines("localhost"));
    agent.wait_until_ready().unwrap();
    register(&server, "web");
    eventually("an SVID", || id(&agent));
}

/// A service on a Unix socket: answers what `says` holds, and keeps what it was asked.
struct Service {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl Service {
    fn start(says: impl Fn() -> String + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("bundles.sock");
        let (listener, asked) = (UnixListener::bind(&socket).unwrap(), Arc::new(Mutex::new(Vec::new())));
        let keeps = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut head) = (stream.unwrap(), Vec::new());
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                keeps.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                let body = says();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { socket, asked, _directory: directory }
    }

    fn lines(&self) -> String {
        format!(
            "trust_bundle_unix_socket = \"{}\"\n trust_bundle_url = \"http://localhost/bundle?site=7\"",
            self.socket.display()
        )
    }

    /// The parameters of its requests.
    fn parameters(&self) -> Vec<BTreeMap<String, String>> {
        let asked = self.asked.lock().unwrap();
        let query = |head: &String| {
            let query = head.split_once('?').unwrap().1.split(' ').next().unwrap().to_owned();
            query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
        };
        asked.iter().map(query).collect()
    }
}

/// It is asked in SPIRE's words, and again once the server lost its CA.
#[test]
fn a_bundle_comes_from_a_service_on_this_machine_which_is_told_why() {
    let pki = pki(&KEY);
    let mut server = server(pki.path(), "");
    let file = server.bundle_file();
    let service = Service::start(move || std::fs::read_to_string(&file).unwrap());
    let lines = service.lines() + "\n rebootstrap_mode = \"always\"\n rebootstrap_delay = \"2s\"";
    let mut agent = begin(&server, pki.path(), &[], &lines);
    agent.wait_until_ready().unwrap();
    register(&server, "web");
    eventually("an SVID", || id(&agent));
    let port = server.port().to_string();
    let [asked] = &service.parameters()[..] else { panic!("{:?}", service.parameters()) };
    for (name, value) in [
        ("site", "7"),
        ("spiffe-trust-domain", TRUST_DOMAIN),
        ("spire-attest-mode", "bootstrap"),
        ("spire-connection-attempts", "1"),
        ("spire-server-address", "127.0.0.1"),
        ("spire-server-port", &port),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(value), "{name} in {asked:?}");
    }
    assert!(asked["spire-attest-start-time"].ends_with('Z'), "{asked:?}");

    server.lose_data().unwrap();
    eventually("the node at its new server", || {
        service.parameters().iter().find(|one| one["spire-attest-mode"] == "rebootstrap").cloned()
    });
    eventually("the node at its new server", || {
        let listed = server.cli(&["agent", "count"]).unwrap().stdout;
        String::from_utf8_lossy(&listed).starts_with("1 ").then_some(())
    });
}

/// This agent is a workload of the other.
#[test]
fn a_bundle_comes_from_another_agent_of_the_trust_domain() {
    let pki = pki(&KEY);
    let server = server(pki.path(), "");
    let outer = TestAgent::start(&server, &Attestor::Certificate(pki.path())).unwrap();
    let lines = format!("trust_bundle_spiffe_workload_api = \"unix://{}\"", outer.socket().display());
    let join = || Attestor::JoinToken(server.join_token().unwrap());
    let upstream = Upstream { lines: &lines, ..server.upstream(Path::new("")) };
    let mut inner = TestAgent::start_in_without_waiting(&[], &upstream, &join()).unwrap();
    let said = inner.process().wait_for_line("Failed to attest", PATIENCE).unwrap();
    assert!(said.contains("no identity issued") && said.contains("entry"), "{said}");
    register(&server, "inner-agent");
    inner.wait_until_ready().unwrap();
}

/// Never is the default: the agent says what to do, and workloads keep what they have.
///
/// Threat 63
#[test]
fn without_rebootstrap_mode_a_new_ca_is_nobody() {
    let pki = pki(&KEY);
    let mut server = server(pki.path(), "");
    let mut agent = TestAgent::start(&server, &Attestor::Certificate(pki.path())).unwrap();
    register(&server, "before");
    eventually("an SVID", || id(&agent));
    server.lose_data().unwrap();
    let said = agent.process().wait_for_line("is not trusted", PATIENCE).unwrap();
    assert!(said.contains("rebootstrap_mode") && said.contains("trust_bundle_path"), "{said}");
    let mut after = 0;
    for _ in 0..3 {
        (after, _) = agent.process().wait_for_line_after(after, "is not trusted", PATIENCE).unwrap();
    }
    assert!(!agent.process().log().contains("rebootstrapping"), "{}", agent.process().log());
    assert_eq!(id(&agent), Some(format!("spiffe://{TRUST_DOMAIN}/before")));
}

/// A join token admits once: `auto` goes on without, `always` says so and ends.
#[test]
fn a_node_that_can_not_attest_again_goes_on_without_or_ends() {
    let pki = pki(&KEY);
    let server = server(pki.path(), "");
    let join = |lines: &str| {
        let file = server.bundle_file();
        let upstream = Upstream { lines, ..server.upstream(&file) };
        let token = Attestor::JoinToken(server.join_token().unwrap());
        TestAgent::start_in_without_waiting(&[], &upstream, &token).unwrap()
    };
    let mut agent = join("rebootstrap_mode = \"auto\"");
    agent.wait_until_ready().unwrap();
    agent.process().wait_for_line("Rebootstrapping is disabled", PATIENCE).unwrap();
    let mut agent = join("rebootstrap_mode = \"always\"");
    let ended = agent.process().wait(PATIENCE).unwrap();
    assert!(!ended.success());
    let said = agent.process().log();
    assert!(said.contains("rebootstrap_mode is always") && said.contains("auto or never"), "{said}");
}
