//! The command line on the program's own socket: every step of a day's work, by our program, and by SPIRE's where `SPIRE_SERVER_BIN` names it,
//! which has to print the same at each.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plastron-server");

/// An authority of another trust domain, and a bundle with a key besides, from the tests of the commands.
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/tests/commands/ca.pem");
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/tests/commands/bundle.json");

struct Server {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            r#"
            server {{
                trust_domain = "example.org"
                data_dir = "{at}/data"
                bind_address = "127.0.0.1"
                bind_port = 0
                socket_path = "{at}/api.sock"
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/data/store.sqlite3" }} }}
                KeyManager "disk" {{ plugin_data {{ directory = "{at}/data/keys" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}
            "#
        );
        let file = dir.path().join("server.conf");
        std::fs::write(&file, config).unwrap();
        let mut process =
            Command::new(PROGRAM).args(["run", "-config"]).arg(file).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut listeners = 0;
        while listeners < 2 {
            listeners += usize::from(lines.next().unwrap().unwrap().contains("msg=\"Starting Server APIs\""));
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { dir, process }
    }

    /// Runs one line as `who`, whose name stands in for `{n}`; what is printed has `{n}` in its place again.
    fn run(&self, program: &Path, who: &str, line: &str) -> String {
        let words = line.replace("{n}", who).replace("{ca}", CA).replace("{bundle}", BUNDLE);
        let output = Command::new(program)
            .args(words.split(' '))
            .env("SPIRE_SERVER_PRIVATE_SOCKET", self.dir.path().join("api.sock"))
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let own = |bytes: Vec<u8>| {
            let text = masked(&String::from_utf8(bytes).unwrap());
            if line.contains("{n}") { text.replace(who, "{n}") } else { text }
        };
        let mut text = own(output.stdout);
        let err = own(output.stderr);
        if !output.status.success() {
            text += "refused\n";
        }
        if !err.is_empty() {
            write!(text, "standard error: {err}").unwrap();
        }
        text
    }
}

/// Without what is another at every run: identifiers that the server makes up, and times of now.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("  Uptime: ") {
            out += "  Uptime: ...\n";
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut rest = line;
        while !rest.is_empty() {
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            let is_uuid = word.len() == 36 && word.matches('-').count() == 4;
            let is_time = word.len() == 10 && word.bytes().all(|byte| byte.is_ascii_digit());
            out += if is_uuid {
                "UUID"
            } else if is_time {
                "TIME"
            } else {
                word
            };
            rest = &rest[word.len()..];
            let other = &rest[..rest.find(is_word).unwrap_or(rest.len())];
            out += other;
            rest = &rest[other.len()..];
        }
    }
    out
}

const PARENT: &str = "spiffe://example.org/spire/agent/join_token/x";

/// A line, and what has to be in what it prints.
type Step = (String, &'static str);

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |line: &str, says: &'static str| {
        steps.push((line.replace("{parent}", PARENT), says));
        steps.push((format!("{} -output json", line.replace("{parent}", PARENT)), ""));
    };
    // What is there at the start.
    step("agent list", "No attested agents found\n");
    step("agent count", "0 attested agents\n");
    step("agent purge", "No agents to purge.\n");
    step("bundle show", "-----BEGIN CERTIFICATE-----\n");
    step("bundle show -format spiffe", "\"spiffe_sequence\": ");
    step("bundle count", "1 bundle\n");
    step("bundle list", "");
    step("entry show", "Found 0 entries\n");
    step("federation list", "Found 0 federation relationships\n");
    step("localauthority x509 show", "Active X.509 authority:\n  Authority ID: ");
    step("localauthority jwt show", "No prepared JWT authority found\n");
    step("logger get", "Logger Level : info\nLaunch Level : info\n\n");
    step("logger set -level debug", "Logger Level : debug\nLaunch Level : info\n\n");
    step("logger reset", "Logger Level : info\nLaunch Level : info\n\n");
    step("token generate", "Token: UUID\n");
    step("token generate -spiffeID spiffe://example.org/node -ttl 60", "Token: UUID\n");
    // A foreign bundle, and an entry that federates with it.
    step(
        "entry create -entryID {n}-0 -spiffeID spiffe://example.org/{n} -parentID {parent} -selector a:b -federatesWith {n}.test",
        "refused",
    );
    step("bundle set -id spiffe://{n}.test -path {ca}", "bundle set.\n");
    step("bundle set -id {n}.test -path {bundle} -format spiffe", "bundle set.\n");
    step("bundle list -id {n}.test -format spiffe", "\"kid-1\"");
    step("bundle list -id spiffe://{n}.test", "-----BEGIN CERTIFICATE-----\n");
    step("bundle set -id example.org -path {ca}", "refused");
    let entry = "-entryID {n}-1 -spiffeID spiffe://example.org/{n} -parentID {parent} -selector a:b -selector c:d";
    steps
        .push((format!("entry create {entry} -federatesWith {{n}}.test").replace("{parent}", PARENT), "FederatesWith"));
    let mut step = |line: &str, says: &'static str| {
        steps.push((line.replace("{parent}", PARENT), says));
        steps.push((format!("{} -output json", line.replace("{parent}", PARENT)), ""));
    };
    step(
        &format!("entry create {entry} -federatesWith {{n}}.test"),
        "(code: AlreadyExists, msg: \"similar entry already exists\"):",
    );
    step("entry show -spiffeID spiffe://example.org/{n}", "Found 1 entry\n");
    step("entry show -federatesWith {n}.test -matchFederatesWithOn exact", "Found 1 entry\n");
    step("entry show -selector a:b -matchSelectorsOn exact", "Found 0 entries\n");
    step("entry count -parentID {parent} -spiffeID spiffe://example.org/{n}", "1 registration entry\n");
    step("entry show -entryID {n}-none", "refused");
    step("bundle delete -id {n}.test", "refused");
    step("bundle delete -id {n}.test -mode dissociate", "bundle deleted.\n");
    step(
        &format!("entry update {entry} -x509SVIDTTL 60 -hint h -dns a.test -admin -downstream -storeSVID"),
        "TTL           : 60\n",
    );
    step(&format!("entry update {entry} -jwtSVIDIncludeJTI"), "JwtSvidIncludeJti       : true\n");
    step("entry delete -entryID {n}-1", "Deleted entry with ID: {n}-1\n");
    step("bundle delete -id none.test", "refused");
    // Relationships.
    let web = "-trustDomain {n}.test -bundleEndpointURL https://127.0.0.1:1/bundle -bundleEndpointProfile https_web";
    steps.push((format!("federation create {web}"), "Bundle endpoint profile   : https_web\n"));
    let mut step = |line: &str, says: &'static str| {
        steps.push((line.to_owned(), says));
        steps.push((format!("{line} -output json"), ""));
    };
    step(&format!("federation create {web}"), "refused");
    step(
        "federation create -trustDomain {n}.test -bundleEndpointURL http://{n}.test -bundleEndpointProfile https_web",
        "refused",
    );
    let spiffe = "-trustDomain {n}.test -bundleEndpointURL https://127.0.0.1:1 -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://{n}.test/server";
    step(
        &format!("federation update {spiffe} -trustDomainBundlePath {{ca}}"),
        "Endpoint SPIFFE ID        : spiffe://{n}.test/server\n",
    );
    step("federation show -trustDomain {n}.test", "Found a federation relationship with trust domain {n}.test:\n\n");
    step("federation list", "federation relationship");
    step("federation delete -id {n}.test", "federation relationship deleted.\n");
    step("federation show -trustDomain {n}.test", "refused");
    step("federation refresh -id none.test", "there is no federation relationship with trust domain \"none.test\"\n");
    step("bundle list", "");
    step("bundle count", "");
    // What is refused.
    step(&format!("agent show -spiffeID {PARENT}"), "Error: rpc error: code = NotFound desc = agent not found\n");
    step(&format!("agent ban -spiffeID {PARENT}"), "refused");
    step(&format!("agent evict -spiffeID {PARENT}"), "refused");
    step("localauthority x509 activate -authorityID none", "could not activate X.509 authority: rpc error: ");
    step("localauthority jwt taint -authorityID none", "could not taint JWT authority: rpc error: ");
    step("upstreamauthority revoke -subjectKeyID none", "could not revoke X.509 upstream authority: rpc error: ");
    step("jwt mint -spiffeID spiffe://other.test/web -audience a", "unable to mint SVID: rpc error: ");
    step("x509 mint -spiffeID spiffe://example.org/spire/server", "unable to mint SVID: rpc error: ");
    for (line, says) in [
        ("healthcheck", "Server is healthy.\n"),
        ("healthcheck -verbose", "Checking server health...\nServer is healthy.\n"),
        ("debug getinfo", "  Registration Entries:    0\n"),
    ] {
        steps.push((line.to_owned(), says));
    }
    steps
}

#[test]
fn a_days_work_at_the_command_line() {
    let server = Server::start();
    let spires = std::env::var_os("SPIRE_SERVER_BIN").map(PathBuf::from);
    if spires.is_none() {
        println!("NOT RUN with SPIRE's program: SPIRE_SERVER_BIN is not set");
    }
    let mut faults = String::new();
    for (line, says) in steps() {
        let ours = server.run(PROGRAM.as_ref(), "ours", &line);
        if !ours.contains(says) || ours.contains("refused\n") && says.is_empty() && !line.ends_with("json") {
            writeln!(faults, "## {line}: not {says:?} but\n{ours}").unwrap();
        }
        let theirs = spires.as_ref().map(|program| server.run(program, "theirs", &line));
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            writeln!(faults, "## {line}\nours:    {ours:?}\nSPIRE's: {theirs:?}").unwrap();
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
