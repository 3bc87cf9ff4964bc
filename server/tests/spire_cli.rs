//! The command line on the program's own socket: every step of a day's work, by our program, and by SPIRE's where `SPIRE_SERVER_BIN` names it,
//! which has to print the same at each. SPIRE's program then does the same day's work on SPIRE's own server: what it prints there is what it
//! prints here, but for the steps that [`OTHERWISE`] explains.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

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
        Self::of(PROGRAM.as_ref())
    }

    /// The same configuration, run by `program`.
    fn of(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        // SPIRE takes 0 for its default.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let config = format!(
            r#"
            server {{
                trust_domain = "example.org"
                data_dir = "{at}/data"
                bind_address = "127.0.0.1"
                bind_port = {port}
                socket_path = "{at}/api.sock"
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/data/store.sqlite3" }} }}
                KeyManager "disk" {{ plugin_data {{ keys_path = "{at}/data/keys.json" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}
            "#
        );
        let file = dir.path().join("server.conf");
        std::fs::write(&file, config).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(program);
        command.args(["run", "-config"]).arg(file).stdout(writer.try_clone().unwrap()).stderr(writer);
        let process = command.spawn().unwrap();
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        let mut listeners = 0;
        while listeners < 2 {
            listeners += usize::from(lines.next().unwrap().unwrap().contains("msg=\"Starting Server APIs\""));
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let server = Self { dir, process };
        let mut healthy = false;
        for _ in 0..600 {
            healthy = healthy || server.run(program, "none", "healthcheck") == "Server is healthy.\n";
            if !healthy {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        assert!(healthy, "{} does not get healthy", program.display());
        server
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

/// Without keys and certificates, their names and what follows from them, which no two servers have in common.
fn without_keys(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in masked(text).lines() {
        if line.starts_with("-----END") {
            inside = false;
        }
        if inside {
            continue;
        }
        inside = line.starts_with("-----BEGIN");
        let line =
            line.split_once("xpires at: ").or_else(|| line.split_once("xpires At: ")).map_or(line, |(key, _)| key);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_+/=".contains(c);
        let mut rest = line;
        while !rest.is_empty() {
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            out += if word.len() >= 24 && !word.contains("://") && !word.starts_with("/spire") { "KEY" } else { word };
            rest = &rest[word.len()..];
            let other = &rest[..rest.find(is_word).unwrap_or(rest.len())];
            out += other;
            rest = &rest[other.len()..];
        }
        out.push('\n');
    }
    // SPIRE says where a refusal comes from.
    let mut out = out.replace("datastore-sql: ", "");
    for key in ["\"spiffe_sequence\": ", "\"sequence_number\":\"", "\"x\": \"", "\"y\": \""] {
        out = blanked(&out, key);
    }
    out
}

/// Each value after `key`, up to what ends it, as three dots.
fn blanked(text: &str, key: &str) -> String {
    let mut parts = text.split(key);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && !"-_+/=".contains(c)).unwrap_or(part.len());
        out = out + key + "..." + &part[end..];
    }
    out
}

/// The steps that end otherwise on SPIRE's server, by how they begin, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("entry create -entryID {n}-0", "a trust domain without a bundle is the caller's fault, and no internal error"),
    ("entry create -entryID {n}-3", "what is wrong with a DNS name is in our words"),
    (
        "entry update -entryID {n}-1",
        "letting go of a bundle is a revision of the entry, and what is wrong is in our words",
    ),
    ("federation create -trustDomain {n}.test -bundleEndpointURL https://127", "what exists already is AlreadyExists"),
    ("debug getinfo", "the entry of a token comes when the token is used"),
];

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
    step(
        "entry create -entryID {n}-2 -spiffeID spiffe://example.org/{n}2 -parentID {parent} -selector a:b -dns *.Other -dns Web_1.Example",
        "",
    );
    step("entry show -entryID {n}-2", "DNS name                : Web_1.Example\n");
    step(
        "entry create -entryID {n}-3 -spiffeID spiffe://example.org/{n}3 -parentID {parent} -selector a:b -dns a- -dns b",
        "refused",
    );
    step(
        "entry create -entryID {n}-3 -spiffeID spiffe://example.org/{n}3 -parentID {parent} -selector a:b -dns ab--c",
        "refused",
    );
    step("entry delete -entryID {n}-2", "Deleted entry with ID: {n}-2\n");
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
    let Some(program) = spires else { return };
    let (spires_server, server) = (Server::of(&program), Server::start());
    let mut unused: Vec<_> = OTHERWISE.iter().map(|(line, _)| *line).collect();
    for (line, _) in steps() {
        let [there, here] = [&spires_server, &server].map(|server| without_keys(&server.run(&program, "who", &line)));
        let explained = OTHERWISE.iter().find(|(begins, _)| line.starts_with(begins)).map(|(begins, _)| *begins);
        if there != here {
            unused.retain(|begins| Some(*begins) != explained);
            if explained.is_none() {
                writeln!(faults, "## {line}\non ours:    {here:?}\non SPIRE's: {there:?}").unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(unused.is_empty(), "these end alike on both servers: {unused:?}");
}

/// Of SPIRE's own files where ours says no and SPIRE yes, by what ours says.
const REFUSED: &[(&str, &str)] = &[
    ("conf/server/server.conf", "everyone has access to the key file"),
    ("conf/server/server_container.conf", "can't read /etc/spire/server/dummy_upstream_ca.key"),
];

#[test]
fn spires_own_files_are_valid_but_for_what_is_named() {
    let (Some(sources), Some(program)) = (std::env::var_os("SPIRE_SOURCE_DIR"), std::env::var_os("SPIRE_SERVER_BIN"))
    else {
        println!("NOT RUN: SPIRE_SOURCE_DIR or SPIRE_SERVER_BIN is not set");
        return;
    };
    let sources = PathBuf::from(sources);
    let mut files = Vec::new();
    configurations(&sources, &mut files);
    let (mut faults, mut asked, mut refused) = (String::new(), 0, 0);
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        if !text.lines().any(|line| line.trim_start().trim_start_matches('"').starts_with("server")) {
            continue;
        }
        asked += 1;
        let validate = |program: &Path| {
            let output = Command::new(program).args(["validate", "-config"]).arg(&file).current_dir(&sources).output();
            let output = output.unwrap();
            (
                output.status.success(),
                String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
            )
        };
        let ((theirs, _), (ours, says)) = (validate(program.as_ref()), validate(PROGRAM.as_ref()));
        let name = file.strip_prefix(&sources).unwrap().display().to_string();
        let expected = REFUSED.iter().find(|(refused, _)| *refused == name);
        match (theirs, ours, expected) {
            (true, false, Some((_, why))) if says.contains(why) => refused += 1,
            (theirs, ours, None) if theirs == ours => {}
            _ => writeln!(faults, "{name}: SPIRE {theirs}, ours {ours}: {says}").unwrap(),
        }
    }
    assert!(asked > 40, "only {asked} files");
    assert_eq!(refused, REFUSED.len());
    assert!(faults.is_empty(), "{faults}");
}

fn configurations(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            configurations(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
}
