//! Receivers that no one here wrote: Prometheus' statsd_exporter reads what a server sends to statsd and to DogStatsD, and curl fetches over
//! TLS.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use plastron_swtpm_tests::{
    Attestor, Process, ServerOptions, TRUST_DOMAIN, TestAgent, TestServer, Upstream, run, statsd_exporter, tool,
};
use tempfile::TempDir;

use super::told::{eventually, free_port, scrape, value};

fn exporter(parsing: &str) -> (Process, u16, u16) {
    let (udp, page) = (free_udp_port(), free_port());
    let mut command = Command::new(statsd_exporter().unwrap());
    command.args([
        format!("--statsd.listen-udp=127.0.0.1:{udp}"),
        "--statsd.listen-tcp=".to_owned(),
        format!("--web.listen-address=127.0.0.1:{page}"),
    ]);
    for format in ["dogstatsd", "influxdb", "librato", "signalfx"].iter().filter(|format| **format != parsing) {
        command.arg(format!("--no-statsd.parse-{format}-tags"));
    }
    let process = Process::spawn("statsd_exporter", &command).unwrap();
    eventually(|| std::net::TcpStream::connect(("127.0.0.1", page)).map(drop).map_err(|error| error.to_string()));
    (process, udp, page)
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// All that is on a page and is not zero, of metrics whose names begin so.
fn faults(body: &str, names: &[&str]) -> Vec<String> {
    let is_fault = |line: &&str| names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    body.lines().filter(is_fault).map(str::to_owned).collect()
}

#[test]
fn statsd_exporter_understands_both_forms_from_a_server_that_tells_four_receivers() {
    let (_dog, dog_port, dog_page) = exporter("dogstatsd");
    let (_plain, plain_port, plain_page) = exporter("none");
    // Nobody listens there.
    let (away, also_away) = (free_udp_port(), TempDir::new().unwrap().path().join("no.sock"));
    let blocks = format!(
        "telemetry {{ DogStatsd = [{{ address = \"localhost:{dog_port}\" }}, {{ address = \"unix://{}\" }}] \
         Statsd = [{{ address = \"localhost:{plain_port}\" }}, {{ address = \"localhost:{away}\" }}] }}",
        also_away.display()
    );
    let server = TestServer::start(ServerOptions { blocks, ..ServerOptions::default() }).unwrap();
    server.join_token().unwrap();
    server.cli(&["entry", "show", "-entryID", "no-such-entry"]).unwrap_err();

    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let label = format!("host=\"{host}\"");
    let in_name = host.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    eventually(|| {
        let (_, body) = scrape(dog_page);
        let told = |name: &str, labels: &[&str]| value(&body, name, labels);
        let calls = told("spire_server_datastore_join_token_create", &[&label, "status=\"OK\""]);
        let missing = told("spire_server_rpc_entry_v1_entry_get_entry", &[&label, "status=\"NotFound\""]);
        let begun = told("spire_server_ca_manager_x509_ca_activate", &[&label]);
        let took = told("spire_server_datastore_join_token_create_elapsed_time_count", &["status=\"OK\""]);
        let started = told("spire_server_started", &["trust_domain_id", "version"]);
        let all = [calls, missing, begun, took, started];
        if all == [Some(1.0); 5] { Ok(()) } else { Err(format!("{all:?} in\n{body}")) }
    });
    eventually(|| {
        let (_, body) = scrape(plain_page);
        let calls = value(&body, &format!("spire_server_datastore_join_token_create_OK_{in_name}"), &[]);
        let took =
            value(&body, &format!("spire_server_datastore_join_token_create_elapsed_time_OK_{in_name}_count"), &[]);
        if [calls, took] == [Some(1.0); 2] { Ok(()) } else { Err(format!("{calls:?} {took:?} in\n{body}")) }
    });
    for page in [dog_page, plain_page] {
        let (_, body) = scrape(page);
        assert!(body.contains("# TYPE spire_server_"), "{body}");
        let refused = ["statsd_exporter_sample_errors_total", "statsd_exporter_events_error_total"];
        let refused =
            [refused.as_slice(), &["statsd_exporter_tag_errors_total", "statsd_exporter_events_conflict_total"]];
        assert_eq!(faults(&body, &refused.concat()), [] as [&str; 0]);
    }
}

/// What curl is answered on this port with these arguments, or why it is not.
fn curl(port: u16, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(tool("curl").unwrap());
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    command.arg(format!("https://localhost:{port}/metrics")).stdin(Stdio::null());
    let output = run(&mut command).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// A key, and a certificate of it for localhost that signs itself.
fn certificate(directory: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |end: &str| directory.join(format!("{name}.{end}"));
    std::fs::write(path("crt"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    (path("crt").display().to_string(), path("key").display().to_string())
}

#[test]
fn metrics_over_tls_are_for_those_whom_an_authority_certified() {
    let directory = TempDir::new().unwrap();
    let (server_crt, server_key) = certificate(directory.path(), "server");
    let (client_crt, client_key) = certificate(directory.path(), "client");
    let (other_crt, other_key) = certificate(directory.path(), "other");
    let (open, closed) = (free_port(), free_port());
    let tls = |port: u16, clients: &str| {
        format!(
            "telemetry {{ Prometheus {{ port = {port} tls {{ cert_file = \"{server_crt}\" key_file = \"{server_key}\" {clients} }} }} }}"
        )
    };
    let start = |blocks| TestServer::start(ServerOptions { blocks, ..ServerOptions::default() }).unwrap();
    let _open = start(tls(open, ""));
    let _closed = start(tls(closed, &format!("client_ca_file = \"{client_crt}\"")));
    let known = ["--cacert", &server_crt];
    assert!(curl(open, &known).unwrap().contains("spire_server_uptime_in_ms"));
    curl(open, &[]).unwrap_err();
    let client = |crt, key| [known.as_slice(), &["--cert", crt, "--key", key]].concat();
    assert!(curl(closed, &client(&client_crt, &client_key)).unwrap().contains("spire_server_uptime_in_ms"));
    curl(closed, &known).unwrap_err();
    curl(closed, &client(&other_crt, &other_key)).unwrap_err();
}

/// Server and agent show their SVIDs, and let in the one workload that is on their lists.
#[test]
fn metrics_over_tls_show_svids_to_the_workload_that_is_listed() {
    let (server_port, agent_port) = (free_port(), free_port());
    let listed = format!("spiffe://{TRUST_DOMAIN}/listed");
    let telemetry = |port: u16| {
        format!(
            "telemetry {{ Prometheus {{ port = {port} tls {{ use_spire_svid = true authorized_spiffe_ids = [\"{listed}\"] }} }}"
        )
    };
    let blocks = format!("{} }}", telemetry(server_port));
    let server = TestServer::start(ServerOptions { blocks, ..ServerOptions::default() }).unwrap();
    let token = server.join_token().unwrap();
    let (bundle, lines) = (server.bundle_file(), format!("}}\n{}", telemetry(agent_port)));
    let upstream = Upstream { lines: &lines, ..server.upstream(&bundle) };
    let agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(token.clone())).unwrap();
    let parent = format!("spiffe://{TRUST_DOMAIN}/spire/agent/join_token/{token}");
    let selector = format!("unix:uid:{}", rustix::process::getuid().as_raw());
    for name in ["listed", "other"] {
        let id = format!("spiffe://{TRUST_DOMAIN}/{name}");
        server.cli(&["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &selector]).unwrap();
    }
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let whose = |index: usize| {
        let pem = run(Command::new(tool("openssl").unwrap()).args([
            "x509",
            "-noout",
            "-ext",
            "subjectAltName",
            "-in",
            &path(&format!("svid.{index}.pem")),
        ]))
        .unwrap();
        String::from_utf8(pem.stdout).unwrap()
    };
    eventually(|| {
        agent.cli(&["api", "fetch", "x509", "-write", &path("")]).map_err(|error| error.to_string())?;
        if directory.path().join("svid.1.pem").exists() { Ok(()) } else { Err("one SVID".to_owned()) }
    });
    let of_listed = usize::from(!whose(0).contains(&listed));
    assert!(whose(of_listed).contains(&listed));
    for port in [server_port, agent_port] {
        let as_client = |index: usize| {
            let (crt, key) = (path(&format!("svid.{index}.pem")), path(&format!("svid.{index}.key")));
            // SVIDs have no name that curl could look for; the bundle tells whose they are.
            curl(port, &["--insecure", "--cert", &crt, "--key", &key])
        };
        assert!(as_client(of_listed).unwrap().contains("_uptime_in_ms"), "{port}");
        as_client(1 - of_listed).unwrap_err();
        curl(port, &["--insecure"]).unwrap_err();
        let shown = run(Command::new(tool("openssl").unwrap())
            .args(["s_client", "-connect", &format!("localhost:{port}"), "-CAfile", &path("bundle.0.pem")])
            .args(["-verify_return_error", "-cert", &path(&format!("svid.{of_listed}.pem"))])
            .args(["-key", &path(&format!("svid.{of_listed}.key"))])
            .stdin(Stdio::null()))
        .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
    }
}
