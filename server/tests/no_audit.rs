//! No audit, no issuance, on the real program: a log file on a full disk, a pipe that is closed, and one that nobody reads.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plastron-server");
/// Starting takes well under a second, and a busy machine more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Half of what was reported as written must fit beside what the test writes.
const DISK: &str = "size=128k";

struct Server {
    dir: tempfile::TempDir,
    process: Child,
    health: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// With its log on a disk of its own that is small: a file system in a namespace of the server's, so that no privilege is needed.
    fn on_small_disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let health = configure(dir.path(), &format!("log_file = \"{}/log/server.log\"", dir.path().display()));
        let script = "mount -t tmpfs -o \"$0\" none \"$1\" && exec \"$2\" run -config \"$3\"";
        let process = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, DISK])
            .args([dir.path().join("log").as_os_str(), PROGRAM.as_ref(), dir.path().join("server.conf").as_os_str()])
            .spawn()
            .unwrap();
        let server = Self { dir, process, health };
        server.wait_until(|server| server.run(&["healthcheck"]).status.success());
        server
    }

    /// With its log in a pipe.
    fn on_pipe() -> (Self, BufReader<ChildStderr>) {
        let dir = tempfile::tempdir().unwrap();
        let health = configure(dir.path(), "");
        let mut process = Command::new(PROGRAM)
            .args(["run", "-config"])
            .arg(dir.path().join("server.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let server = Self { dir, process, health };
        let mut line = String::new();
        while !line.contains("network=unix") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server ended");
        }
        (server, log)
    }

    /// The disk as the server sees it.
    fn disk(&self) -> PathBuf {
        let inside = self.dir.path().join("log");
        Path::new(&format!("/proc/{}/root", self.process.id())).join(inside.strip_prefix("/").unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.disk().join("server.log")).unwrap()
    }

    fn fill_disk(&self) {
        let mut filler = fs::File::create(self.disk().join("filler")).unwrap();
        let mut len = 4096;
        while len > 0 {
            if filler.write_all(&vec![b'x'; len]).is_err() {
                len /= 2;
            }
        }
    }

    fn free_disk(&self) {
        fs::remove_file(self.disk().join("filler")).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let socket = self.dir.path().join("private/api.sock");
        Command::new(PROGRAM).args(arguments).env("SPIRE_SERVER_PRIVATE_SOCKET", socket).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Nothing is on standard output, and the reason names the audit log.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} was done");
        assert!(error.contains("Unavailable") && error.contains("the audit log can't be written since 20"), "{error}");
        error
    }

    /// Status and body of `/ready`.
    fn ready(&self) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "it did not come to that");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Writes the configuration; the port of `/ready` comes back.
fn configure(dir: &Path, server_lines: &str) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = dir.display();
    let config = format!(
        r#"
        server {{
            trust_domain = "example.org"
            data_dir = "{at}/data"
            bind_address = "127.0.0.1"
            bind_port = 0
            socket_path = "{at}/private/api.sock"
            {server_lines}
        }}
        plugins {{
            DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{at}/data/store.sqlite3" }} }}
            KeyManager "disk" {{ plugin_data {{ directory = "{at}/data/keys" }} }}
            NodeAttestor "join_token" {{ plugin_data {{}} }}
        }}
        health_checks {{
            listener_enabled = true
            bind_address = "127.0.0.1"
            bind_port = {port}
        }}
        "#
    );
    fs::write(dir.join("server.conf"), config).unwrap();
    port
}

const MINT: [&str; 4] = ["x509", "mint", "-spiffeID", "spiffe://example.org/minted"];

/// The serial number of the first certificate, as the log has it.
fn serial(pem: &[u8]) -> String {
    let mut openssl = Command::new("openssl")
        .args(["x509", "-noout", "-serial"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(pem).unwrap();
    let output = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    u128::from_str_radix(output.trim().strip_prefix("serial=").unwrap(), 16).unwrap().to_string()
}

#[test]
fn a_full_disk_stops_issuance_until_there_is_space_again() {
    let server = Server::on_small_disk();
    server.ok(&MINT);
    server.ok(&["token", "generate"]);
    let created = ["entry", "create", "-parentID", "spiffe://example.org/node", "-spiffeID", "spiffe://example.org/w"];
    server.ok(&[&created[..], &["-selector", "unix:uid:1"]].concat());
    let entries = server.ok(&["entry", "show", "-output", "json"]);
    let entry: serde_json::Value = serde_json::from_str(&entries).unwrap();
    let entry = entry["entries"][0]["id"].as_str().unwrap().to_owned();

    server.fill_disk();
    let full = server.log();
    // The last page of the log has space for a few lines. The first call that finds none is refused, and the others know.
    let mut minted = Vec::new();
    loop {
        let output = server.run(&MINT);
        if !output.status.success() {
            break;
        }
        minted.push(serial(&output.stdout));
        assert!(minted.len() < 100, "the disk is not full");
    }
    let reason = server.refused(&MINT);
    assert!(reason.contains("No space left on device"), "{reason}");
    for _ in 0..3 {
        server.refused(&MINT);
        server.refused(&["token", "generate"]);
        server.refused(&[&created[..], &["-selector", "unix:uid:2"]].concat());
    }
    let (status, body) = server.ready();
    assert!(status >= 500 && body.contains("the audit log can't be written since 20"), "{body}");
    // What takes rights away is done, and its line is owed.
    server.ok(&["entry", "delete", "-entryID", &entry]);
    assert!(!server.log().contains("entry delete"));

    server.free_disk();
    // By itself, whoever asks.
    server.wait_until(|server| server.ready().0 == 200);
    minted.push(serial(server.ok(&MINT).as_bytes()));
    server.ok(&["token", "generate"]);
    let log = server.log();
    let after = log.strip_prefix(&full).unwrap();
    assert!(log.lines().all(|line| line.is_empty() || line.starts_with("time=")), "no line is glued to a torn one");
    let at = |part: &str| after.find(part).unwrap_or_else(|| unreachable!("{part} in {after}"));
    assert!(at("event=\"entry delete\"") < at("event=\"audit log resumed\""), "{after}");
    // A refused one may have a line, as a whole or cut where the page ended: it says too much, and not too little.
    let lines = |serial: &String| after.lines().filter(|line| line.contains(&format!(" serial={serial} "))).count();
    for serial in &minted {
        assert_eq!(lines(serial), 1, "each that was issued has its line, {serial}: {after}");
    }
}

/// The log tells by its target what it keeps while it can't be written.
#[test]
fn log_and_core_mean_the_same_by_audit_targets() {
    use plastron_daemon::logging::{AUDIT_REFUSAL_TARGET, AUDIT_TARGET};
    use plastron_server_core::audit::{REFUSAL_TARGET, TARGET};
    assert_eq!([AUDIT_TARGET, AUDIT_REFUSAL_TARGET], [TARGET, REFUSAL_TARGET]);
}

#[test]
fn a_closed_pipe_stops_issuance() {
    let (server, log) = Server::on_pipe();
    server.ok(&MINT);
    drop(log);
    let reason = server.refused(&MINT);
    assert!(reason.contains("Broken pipe"), "{reason}");
    assert!(server.ready().0 >= 500);
    server.refused(&["token", "generate"]);
    assert!(server.ok(&["bundle", "show"]).starts_with("-----BEGIN"), "what gives nothing is served");
}

#[test]
fn a_pipe_that_nobody_reads_stops_issuance_and_hangs_nothing() {
    let (server, mut log) = Server::on_pipe();
    // Each refused call is a line; a pipe holds 64 KiB.
    let deadline = Instant::now() + PATIENCE;
    while server.ready().0 == 200 {
        assert!(Instant::now() < deadline, "the pipe does not fill");
        for _ in 0..20 {
            server.run(&["entry", "show", "-entryID", &"no-such-entry".repeat(80)]);
        }
    }
    let begun = Instant::now();
    for _ in 0..5 {
        let reason = server.refused(&MINT);
        assert!(reason.contains("a write took longer than 2 s"), "{reason}");
        server.ok(&["bundle", "show"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let (status, body) = server.ready();
    assert!(status >= 500 && body.contains("a write took longer than 2 s"), "{body}");
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = log.read_to_end(&mut rest);
    });
    server.wait_until(|server| server.ready().0 == 200);
    server.ok(&MINT);
}
