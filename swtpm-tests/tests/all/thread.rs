//! The thread, on the real programs: a node enrols, and its workload gets an SVID that the CA key signed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plastron_swtpm_tests::{
    Attestor, EkKind, Manufacturer, ServerOptions, SoftHsm, Swtpm, TRUST_DOMAIN, TestAgent, TestServer, tool,
};

/// The only agent's SPIFFE ID, from the server's list.
fn agent_id(server: &TestServer) -> String {
    let listed = String::from_utf8(server.cli(&["agent", "list"]).unwrap().stdout).unwrap();
    let ids: Vec<_> = listed.lines().filter(|line| line.contains("spiffe://")).collect();
    assert_eq!(ids.len(), 1, "{listed}");
    ids[0].split_whitespace().last().unwrap().to_owned()
}

/// Registers the user that runs the test as a workload of that node.
fn register(server: &TestServer, parent: &str) -> String {
    let id = format!("spiffe://{TRUST_DOMAIN}/workload");
    let uid = rustix_uid();
    let selector = format!("unix:uid:{uid}");
    server.cli(&["entry", "create", "-parentID", parent, "-spiffeID", &id, "-selector", &selector]).unwrap();
    id
}

fn rustix_uid() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(2).unwrap().to_owned()
}

/// Fetches as a workload, waiting until the agent has heard of the entry, and lets OpenSSL verify what came.
fn fetch(agent: &TestAgent, id: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let mut attempts = 0;
    while let Err(error) = agent.cli(&["api", "fetch", "x509", "-write", &path]) {
        attempts += 1;
        assert!(attempts < 300, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let openssl = |arguments: &[&str]| {
        let output =
            Command::new(tool("openssl").unwrap()).args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let names = openssl(&["x509", "-in", "svid.0.pem", "-noout", "-ext", "subjectAltName"]);
    assert!(names.contains(&format!("URI:{id}")), "{names}");
    let verify = ["verify", "-x509_strict", "-CAfile", "bundle.0.pem", "-untrusted", "svid.0.pem", "svid.0.pem"];
    openssl(&verify);
    assert!(Path::new(&path).join("svid.0.key").exists());
}

#[test]
fn a_tpm_enrols_and_its_workload_gets_an_svid_that_the_token_signed() {
    let token = SoftHsm::start().unwrap();
    let manufacturer = Manufacturer::shared().unwrap();
    let tpm = Swtpm::start().unwrap();
    let options =
        ServerOptions { token: Some(token), tpms: Some((manufacturer, EkKind::Rsa2048)), ..ServerOptions::default() };
    let mut server = TestServer::start(options).unwrap();
    let mut agent = TestAgent::start(&server, &Attestor::Tpm(&tpm, EkKind::Rsa2048)).unwrap();
    let id = agent_id(&server);
    assert!(id.starts_with(&format!("spiffe://{TRUST_DOMAIN}/spire/agent/tpm/")), "{id}");
    let workload = register(&server, &id);
    fetch(&agent, &workload);
    // The CA key is in the token, and can't leave it.
    let keys = server.token().unwrap().pkcs11_tool(&["--list-objects", "--type", "privkey"]).unwrap().stdout;
    let keys = String::from_utf8(keys).unwrap();
    assert!(keys.contains("x509-CA-A") && keys.contains("never extractable"), "{keys}");

    // Both are killed and start again: nothing is lost, nobody has to do anything, and the node is the same.
    server.kill().unwrap();
    agent.kill().unwrap();
    server.start_again().unwrap();
    agent.start_again().unwrap();
    assert_eq!(agent_id(&server), id);
    fetch(&agent, &workload);
    assert!(agent.terminate().unwrap().success());
    assert!(server.terminate().unwrap().success());
}

#[test]
fn a_tpm_that_no_pool_trusts_is_refused_and_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let other = Manufacturer::found(directory.path()).unwrap();
    let (good, bad) = (Swtpm::start().unwrap(), Swtpm::made_by(&other).unwrap());
    let tpms = Some((Manufacturer::shared().unwrap(), EkKind::P384));
    let mut server = TestServer::start(ServerOptions { tpms, ..ServerOptions::default() }).unwrap();
    let mut refused = TestAgent::start_without_waiting(&server, &Attestor::Tpm(&bad, EkKind::P384)).unwrap();
    server.process().wait_for_line("ek_path", Duration::from_secs(60)).unwrap();
    let _admitted = TestAgent::start(&server, &Attestor::Tpm(&good, EkKind::P384)).unwrap();
    assert!(agent_id(&server).contains("/spire/agent/tpm/"));
    assert!(refused.cli(&["healthcheck"]).is_err());
    refused.kill().unwrap();
}

#[test]
fn a_join_token_admits_one_node() {
    let server = TestServer::start(ServerOptions::default()).unwrap();
    let token = server.join_token().unwrap();
    let agent = TestAgent::start(&server, &Attestor::JoinToken(token.clone())).unwrap();
    let workload = register(&server, &agent_id(&server));
    fetch(&agent, &workload);
    let mut second = TestAgent::start_without_waiting(&server, &Attestor::JoinToken(token)).unwrap();
    second.process().wait_for_line("already been used", Duration::from_secs(60)).unwrap();
    assert!(second.cli(&["healthcheck"]).is_err());
    assert!(agent_id(&server).contains("/spire/agent/join_token/"));
}

/// The technician's view and the server's are one: the fingerprint at the rack is the node's ID.
#[test]
fn the_fingerprint_at_the_rack_names_the_node() {
    let tpm = Swtpm::start().unwrap();
    let tpms = Some((Manufacturer::shared().unwrap(), EkKind::Rsa2048));
    let server = TestServer::start(ServerOptions { tpms, ..ServerOptions::default() }).unwrap();
    let mut command = Command::new(plastron_swtpm_tests::program("plastron-agent").unwrap());
    command.args(["tpm", "fingerprint", "-device", &tpm.tcti()]).env("TSS2_LOG", "all+NONE");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let fingerprint = text.lines().find_map(|line| line.strip_prefix("rsa2048 ")).unwrap();
    let _agent = TestAgent::start(&server, &Attestor::Tpm(&tpm, EkKind::Rsa2048)).unwrap();
    assert_eq!(agent_id(&server), format!("spiffe://{TRUST_DOMAIN}/spire/agent/tpm/{fingerprint}"));
}
