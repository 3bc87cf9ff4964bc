//! The program as a process: its command line against itself, its files, its signals, and what survives it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plastron-server");

struct Server {
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
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
                socket_path = "{at}/private/api.sock"
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/data/store.sqlite3" }} }}
                KeyManager "disk" {{ plugin_data {{ directory = "{at}/data/keys" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}
            "#
        );
        fs::write(dir.path().join("server.conf"), config).unwrap();
        let mut server = Self { dir, process: None };
        server.run();
        server
    }

    /// Starts the program and waits until both listeners are open.
    fn run(&mut self) {
        let mut process = Command::new("sh")
            .args(["-c", "umask 0; exec \"$0\" run -config \"$1\"", PROGRAM])
            .arg(self.path("server.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut listeners = 0;
        while listeners < 2 {
            let line = lines.next().unwrap_or_else(|| Ok("the server ended".into())).unwrap();
            assert_ne!(line, "the server ended", "{}", fs::read_to_string(self.path("log")).unwrap());
            listeners += usize::from(line.contains("msg=\"Starting Server APIs\""));
            writeln!(log, "{line}").unwrap();
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| writeln!(log, "{line}").unwrap()));
        self.process = Some(process);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("SPIRE_SERVER_PRIVATE_SOCKET", self.path("private/api.sock"))
            .output()
            .unwrap()
    }

    /// Standard output of a command that succeeds.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and standard error of a command that fails.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn signal(&mut self, name: &str) -> std::process::ExitStatus {
        let mut process = self.process.take().unwrap();
        let sent = Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        process.wait().unwrap()
    }
}

const PARENT: &str = "spiffe://example.org/spire/agent/join_token/x";

fn create<'a>(path: &'a str, selector: &'a str) -> [&'a str; 8] {
    ["entry", "create", "-parentID", PARENT, "-spiffeID", path, "-selector", selector]
}

#[test]
fn spires_commands_speak_spires_words() {
    let server = Server::start();
    assert_eq!(server.ok(&["healthcheck"]), "Server is healthy.\n");
    let token = server.ok(&["token", "generate", "-spiffeID", "spiffe://example.org/node"]);
    assert!(token.starts_with("Token: ") && token.lines().count() == 1, "{token}");
    let token: serde_json::Value = serde_json::from_str(&server.ok(&["token", "generate", "-output", "json"])).unwrap();
    assert!(token["value"].is_string() && token["expires_at"].is_string());

    let created = server.ok(&create("spiffe://example.org/db", "unix:uid:0"));
    assert!(created.starts_with("Entry ID                : "), "{created}");
    let id = created.lines().next().unwrap().rsplit(' ').next().unwrap();
    let (code, error) = server.fails(&create("spiffe://example.org/db", "unix:uid:0"));
    let refused = "Failed to create the following entry (code: AlreadyExists, msg: \"similar entry already exists\"):";
    assert!(code == 1 && error.starts_with(refused), "{error}");

    assert_eq!(server.ok(&["entry", "count"]), "1 registration entry\n");
    let shown = server.ok(&["entry", "show", "-selector", "unix:uid:0"]);
    assert!(shown.starts_with("Found 1 entry\nEntry ID                : "), "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&server.ok(&["entry", "show", "-output", "json"])).unwrap();
    assert_eq!(shown["entries"][0]["spiffe_id"]["path"], "/db");
    let update = ["entry", "update", "-entryID", id, "-parentID", PARENT, "-spiffeID", "spiffe://example.org/db2"];
    let updated = server.ok(&[&update[..], &["-selector", "unix:uid:1", "-x509SVIDTTL=60", "-admin"]].concat());
    assert!(updated.contains("Revision                : 1\nX509-SVID TTL           : 60\n"), "{updated}");
    assert!(updated.contains("Admin                   : true\n"), "{updated}");
    let deleted = format!("Deleted entry with ID: {id}\n\n\nDeleted 1 entries successfully");
    assert_eq!(server.ok(&["entry", "delete", "-entryID", id]), deleted);
    let (code, error) = server.fails(&["entry", "delete", "-entryID", id]);
    assert!(code == 3 && error.contains("(code: NotFound, msg: \"entry not found\")"), "{error}");

    assert_eq!(server.ok(&["agent", "list"]), "No attested agents found\n");
    assert_eq!(server.ok(&["agent", "count", "-banned", "true"]), "0 attested agents\n");
    for verb in ["show", "ban", "evict"] {
        let (code, error) = server.fails(&["agent", verb, "-spiffeID", PARENT]);
        assert_eq!((code, error.as_str()), (3, "Error: rpc error: code = NotFound desc = agent not found\n"), "{verb}");
        assert_eq!(server.fails(&["agent", verb]), (2, "Error: a SPIFFE ID is required\n".to_owned()));
    }
    assert!(server.ok(&["bundle", "show"]).starts_with("-----BEGIN CERTIFICATE-----\n"));
    let bundle: serde_json::Value = serde_json::from_str(&server.ok(&["bundle", "show", "-format", "spiffe"])).unwrap();
    assert_eq!(bundle["keys"][0]["use"], "x509-svid");
    let bundle: serde_json::Value = serde_json::from_str(&server.ok(&["bundle", "show", "-output", "json"])).unwrap();
    assert_eq!(bundle["x509_authorities"][0]["tainted"], false);
    assert_eq!(server.fails(&["healthcheck", "-socketPath", "/no/such.sock"]).0, 1);
    assert_eq!(server.fails(&["entry", "shew"]).0, 2);
}

#[test]
fn hundreds_of_entries_come_from_standard_input() {
    let server = Server::start();
    let entries: Vec<_> = (0..1_200)
        .map(|n| {
            serde_json::json!({
                "selectors": [{"type": "unix", "value": format!("uid:{n}")}],
                "spiffe_id": format!("spiffe://example.org/w/{n}"),
                "parent_id": PARENT,
            })
        })
        .collect();
    let mut client = Command::new(PROGRAM)
        .args(["entry", "create", "-data", "-", "-socketPath"])
        .arg(server.path("private/api.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(serde_json::json!({ "entries": entries }).to_string().as_bytes()).unwrap();
    drop(input);
    assert!(client.wait_with_output().unwrap().status.success());
    assert_eq!(server.ok(&["entry", "count"]), "1200 registration entries\n");
    assert!(server.ok(&["entry", "show"]).starts_with("Found 1200 entries\n"), "more than one page");
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_a_stop_is_orderly() {
    let mut server = Server::start();
    server.ok(&create("spiffe://example.org/db", "unix:uid:0"));
    let bundle = server.ok(&["bundle", "show"]);
    server.signal("-KILL");
    assert_eq!(server.fails(&["healthcheck"]).0, 1);
    server.run();
    assert_eq!(server.ok(&["entry", "count"]), "1 registration entry\n");
    assert_eq!(server.ok(&["bundle", "show"]), bundle, "the CA goes on with its key");
    assert!(server.signal("-TERM").success());
    assert!(!server.path("private/api.sock").exists(), "the socket is taken away");
    assert!(fs::read_to_string(server.path("log")).unwrap().contains("Starting Server APIs"));
}

/// What logrotate does, and a signal of SPIRE's that means nothing here.
#[test]
fn a_log_file_is_opened_anew_on_sigusr2_and_sigusr1_ends_nothing() {
    let mut server = Server::start();
    assert!(server.signal("-TERM").success());
    let (log, moved) = (server.path("server.log"), server.path("server.log.1"));
    let process = Command::new(PROGRAM)
        .args(["run", "-logFormat", "json", "-logSourceLocation", "-config"])
        .args([server.path("server.conf").as_path(), Path::new("-logFile"), log.as_path()])
        .spawn()
        .unwrap();
    let pid = process.id().to_string();
    server.process = Some(process);
    let wait_for = |file: &Path, words: &str| {
        while !fs::read_to_string(file).is_ok_and(|text| text.contains(words)) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait_for(&log, "\"network\":\"unix\"");
    fs::rename(&log, &moved).unwrap();
    for (signal, words) in [("-USR2", "Log file reopened"), ("-USR1", "SIGUSR1 has no effect")] {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        wait_for(&log, words);
    }
    assert!(server.signal("-TERM").success());
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().all(|line| line.starts_with('{')) && text.contains("\"func\":\"plastron_"), "{text}");
    assert!(text.contains("\"msg\":\"Server stopped gracefully\"") && !text.contains("Starting Server APIs"), "{text}");
    assert!(fs::read_to_string(&moved).unwrap().contains("Starting Server APIs"));
}

/// Threat 39
#[test]
fn a_umask_of_zero_opens_nothing_to_others() {
    let server = Server::start();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&server.path("private")), 0o750);
    assert_eq!(mode(&server.path("private/api.sock")), 0o770);
    let mut open = vec![server.path("data")];
    while let Some(path) = open.pop() {
        assert_eq!(mode(&path) & 0o027, 0, "{} has mode {:o}", path.display(), mode(&path));
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
        }
    }
}

/// Threat 34
#[test]
fn a_join_token_is_neither_in_the_log_nor_in_the_store() {
    let mut server = Server::start();
    let token = server.ok(&["token", "generate"]);
    let token = token.lines().next().unwrap().strip_prefix("Token: ").unwrap().to_owned();
    assert!(server.signal("-TERM").success());
    for name in ["log", "data/store.sqlite3"] {
        let bytes = fs::read(server.path(name)).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{name} holds the token");
    }
}

#[test]
fn validate_says_where_it_is_wrong() {
    let server = Server::start();
    let config = server.path("server.conf");
    let config = config.to_str().unwrap();
    assert_eq!(server.ok(&["validate", "-config", config]), "SPIRE server configuration file is valid.\n");
    let text = fs::read_to_string(config).unwrap().replace("bind_port = 0", "bind_prot = 0");
    fs::write(config, text).unwrap();
    let (code, error) = server.fails(&["validate", "-config", config]);
    let expected = format!("SPIRE server configuration file is invalid: {config}:6:17: unknown key server.bind_prot\n");
    assert_eq!((code, error), (1, expected));
}

#[test]
fn svids_are_minted_at_the_command_line() {
    let server = Server::start();
    let web = "spiffe://example.org/web";
    let token = server.ok(&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-audience", "cache", "-ttl", "90s"]);
    let token = token.strip_suffix('\n').unwrap();
    let bundle = server.ok(&["bundle", "show", "-format", "spiffe"]);
    let domain = plastron_spiffe::TrustDomain::parse("example.org").unwrap();
    let bundle = plastron_spiffe::Bundle::from_spiffe_json(domain, bundle.as_bytes()).unwrap();
    let now = rustls_pki_types::UnixTime::now();
    let svid = plastron_spiffe::jwt::validate(token, "cache", &bundle, now).unwrap();
    assert_eq!((svid.id().as_str(), svid.audience()), (web, &["db".to_owned(), "cache".to_owned()][..]));
    let json = server.ok(&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["svid"]["token"].is_string() && json["svid"]["expires_at"].is_string(), "{json}");

    let file = server.path("token");
    let written = server.ok(&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-write", file.to_str().unwrap()]);
    assert_eq!(written, format!("JWT-SVID written to {}\n", file.display()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let capped = server.command(&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-ttl", "48h"]);
    assert!(capped.status.success());
    let warning = String::from_utf8(capped.stderr).unwrap();
    assert!(warning.starts_with("JWT-SVID lifetime was capped shorter than specified ttl; expires \""), "{warning}");

    let directory = server.path("minted");
    fs::create_dir(&directory).unwrap();
    let arguments =
        ["x509", "mint", "-spiffeID", web, "-dns", "web.example.org", "-write", directory.to_str().unwrap()];
    let at = directory.display();
    let words = format!(
        "X509-SVID written to {at}/svid.pem\nPrivate key written to {at}/key.pem\nRoot CAs written to {at}/bundle.pem\n"
    );
    assert_eq!(server.ok(&arguments), words);
    let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("svid.pem"), mode("key.pem"), mode("bundle.pem")), (0o644, 0o600, 0o644));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    openssl(&["verify", "-x509_strict", "-CAfile", "bundle.pem", "svid.pem"]);
    let public_key = openssl(&["x509", "-in", "svid.pem", "-noout", "-pubkey"]);
    assert_eq!(public_key, openssl(&["pkey", "-in", "key.pem", "-pubout"]));
    let printed = server.ok(&["x509", "mint", "-spiffeID", web]);
    for part in [
        "X509-SVID:\n-----BEGIN CERTIFICATE-----\n",
        "\n\nPrivate key:\n-----BEGIN PRIVATE KEY-----\n",
        "\n\nRoot CAs:\n",
    ] {
        assert!(printed.contains(part), "{part:?} in {printed}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&server.ok(&["x509", "mint", "-spiffeID", web, "-output", "json"])).unwrap();
    assert!(json["x509_svid"][0].is_string() && json["private_key"].is_string() && json["root_cas"][0].is_string());
}

#[test]
fn what_can_not_be_minted_says_why() {
    let server = Server::start();
    let web = "spiffe://example.org/web";
    for (arguments, code, words) in [
        (&["jwt", "mint", "-audience", "db"][..], 2, "spiffeID must be specified"),
        (&["jwt", "mint", "-spiffeID", web], 2, "at least one audience must be specified"),
        (&["jwt", "mint", "-spiffeID", "web", "-audience", "db"], 2, "SPIFFE ID"),
        (&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-ttl", "soon"], 2, "expected a duration"),
        (
            &["jwt", "mint", "-spiffeID", "spiffe://example.com/web", "-audience", "db"],
            1,
            "is not a member of trust domain",
        ),
        (&["jwt", "mint", "-spiffeID", web, "-audience", "db", "-write", "/nonexistent/token"], 1, "can't write"),
        (&["x509", "mint"], 2, "spiffeID must be specified"),
        (&["x509", "mint", "-spiffeID", "spiffe://example.org/spire/server"], 1, "path is in the reserved namespace"),
        (&["x509", "mint", "-spiffeID", web, "-dns", "a.*.b"], 1, "CSR DNS name is invalid"),
        (&["localauthority", "x509", "activate"], 2, "an authority ID is required"),
        (
            &["localauthority", "jwt", "revoke", "-authorityID", "x"],
            1,
            "no JWT authority found with provided authority ID",
        ),
        (&["upstreamauthority", "taint"], 2, "the Subject Key ID of the X.509 upstream authority is required"),
        (&["upstreamauthority", "revoke", "-subjectKeyID", "ab"], 1, "upstream authority is not configured"),
    ] {
        let (exit, error) = server.fails(arguments);
        assert!(exit == code && error.contains(words), "{arguments:?}: {exit}, {error}");
    }
}

#[test]
fn authorities_are_moved_at_the_command_line() {
    let server = Server::start();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&server.ok(&[arguments, &["-output", "json"]].concat())).unwrap()
    };
    for (kind, name) in [("x509", "X.509"), ("jwt", "JWT")] {
        let verb = |verb: &'static str| ["localauthority", kind, verb];
        let first = json(&verb("show"))["active"]["authority_id"].as_str().unwrap().to_owned();
        let shown = server.ok(&verb("show"));
        let active = format!("Active {name} authority:\n  Authority ID: {first}\n  Expires at: ");
        assert!(shown.starts_with(&active), "{shown}");
        assert!(shown.contains(&format!("No prepared {name} authority found")), "{shown}");
        let prepared = json(&verb("prepare"))["prepared_authority"]["authority_id"].as_str().unwrap().to_owned();
        let one = |verb: &'static str, id: &str| server.ok(&["localauthority", kind, verb, "-authorityID", id]);
        let said = |what: &str, id: &str| format!("{what} {name} authority:\n  Authority ID: {id}\n");
        assert!(one("activate", &prepared).starts_with(&said("Activated", &prepared)));
        assert_eq!(json(&verb("show"))["old"]["authority_id"], first.as_str());
        assert!(one("taint", &first).starts_with(&said("Tainted", &first)));
        let bundle = json(&["bundle", "show"]);
        let authorities = bundle[format!("{kind}_authorities")].as_array().unwrap();
        assert_eq!(authorities.iter().filter(|authority| authority["tainted"] == true).count(), 1, "{bundle}");
        assert!(one("revoke", &first).starts_with(&said("Revoked", &first)));
        assert_eq!(json(&["bundle", "show"])[format!("{kind}_authorities")].as_array().unwrap().len(), 1);
    }
}

/// Threat 50: a data store that was lost leaves keys that no journal names. They are shown, refused while they are young or without a
/// name, and destroyed one by one; the keys in use are not.
#[test]
fn keys_that_a_lost_data_store_left_are_shown_and_destroyed_by_name() {
    let mut server = Server::start();
    assert!(server.ok(&["hsm", "gc"]).starts_with("A journal refers to every key of this server in disk "));
    server.signal("-KILL");
    let keys = server.path("data/keys");
    let held = || {
        let mut names: Vec<_> = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let left = held();
    for entry in fs::read_dir(server.path("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("store.sqlite3") {
            fs::remove_file(path).unwrap();
        }
    }
    server.run();
    let id = left[0].to_str().unwrap().strip_suffix(".key").unwrap();
    let listed = server.ok(&["hsm", "gc"]);
    assert!(listed.contains(&format!("ID           : {id}\nState        : recent\n")), "{listed}");
    let (code, said) = server.fails(&["hsm", "gc", "-destroy", "-id", id]);
    assert!(code == 1 && said.contains("FailedPrecondition") && said.contains("less than 600 s ago"), "{said}");
    // As if it had been left an hour ago.
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for name in &left {
        fs::File::options().write(true).open(keys.join(name)).unwrap().set_modified(an_hour_ago).unwrap();
    }
    let json: serde_json::Value = serde_json::from_str(&server.ok(&["hsm", "gc", "-output", "json"])).unwrap();
    assert_eq!(json["keys"].as_array().unwrap().len(), left.len());
    assert_eq!(json["keys"][0]["state"], "orphan");

    let used = held().into_iter().find(|name| !left.contains(name)).unwrap();
    let used = used.to_str().unwrap().strip_suffix(".key").unwrap();
    for (arguments, code, expected) in [
        (vec!["-destroy"], 2, "look at the list first"),
        (vec!["-id", id], 2, "without it, nothing is"),
        (vec!["-destroy", "-id", "no hex"], 1, "hexadecimal"),
        (vec!["-destroy", "-id", "07"], 3, "has no key 07"),
        (vec!["-destroy", "-id", used], 1, "is in use: server "),
    ] {
        let (got, said) = server.fails(&[&["hsm", "gc"], arguments.as_slice()].concat());
        assert!(got == code && said.contains(expected), "{arguments:?}: {got} {said}");
    }
    assert_eq!(server.ok(&["hsm", "gc", "-destroy", "-id", id]), format!("Destroyed key {id}\n"));
    assert!(!keys.join(&left[0]).exists() && keys.join(format!("{used}.key")).exists());
    assert_eq!(server.ok(&["healthcheck"]), "Server is healthy.\n");
    assert!(fs::read_to_string(server.path("log")).unwrap().contains("unreferenced key destroy"));
}
