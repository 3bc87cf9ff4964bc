//! A server and its agents, seen from those who administer them and from workloads.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{Attestor, Process, ServerOptions, TestAgent, TestServer, program, tool};
use rustix::process::Pid;
use serde_json::Value;

pub(crate) use plastron_swtpm_tests::TRUST_DOMAIN;

/// How long anything may take. What is waited for takes milliseconds to seconds; machines that run tests are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A server, running or not, and a folder for what a test needs beside it.
pub(crate) struct Testbed {
    trust_domain: &'static str,
    server: TestServer,
    directory: tempfile::TempDir,
}

impl Testbed {
    /// A server that runs. All its nodes come from one address, so attestation is not limited.
    pub(crate) fn start(lines: &str) -> Self {
        Self::start_as(TRUST_DOMAIN, lines)
    }

    /// The same, of this trust domain.
    pub(crate) fn start_as(trust_domain: &'static str, lines: &str) -> Self {
        let server_lines = format!("{lines}\n  ratelimit {{ attestation = false }}");
        let server =
            TestServer::start(ServerOptions { trust_domain, server_lines, ..ServerOptions::default() }).unwrap();
        Self { trust_domain, server, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The admin API's socket.
    pub(crate) fn server_socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// Starts it after it was killed.
    pub(crate) fn start_server(&mut self) {
        self.server.start_again().unwrap();
    }

    /// For signals that do not wait for the end.
    pub(crate) fn server_pid(&mut self) -> Pid {
        Pid::from_raw(i32::try_from(self.server.process().pid()).unwrap()).unwrap()
    }

    /// kill -9.
    pub(crate) fn kill_server(&mut self) {
        self.server.kill().unwrap();
    }

    /// Runs a verb of the server's command line; its output, or what it said on standard error.
    pub(crate) fn try_server_cli(&self, arguments: &[&str]) -> Result<String, String> {
        match self.server.cli(arguments) {
            Ok(output) => Ok(String::from_utf8(output.stdout).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The same; the test fails if the command does.
    pub(crate) fn server_cli(&self, arguments: &[&str]) -> String {
        self.try_server_cli(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    fn server_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.server_cli(&[arguments, &["-output", "json"]].concat())).unwrap()
    }

    /// A join token for one node.
    pub(crate) fn join_token(&self) -> String {
        self.server.join_token().unwrap()
    }

    /// The SPIFFE ID of the only node.
    pub(crate) fn only_node(&self) -> String {
        let json = self.server_json(&["agent", "list"]);
        let agents = json["agents"].as_array().unwrap();
        assert_eq!(agents.len(), 1, "{json}");
        format!("spiffe://{}{}", self.trust_domain, agents[0]["id"]["path"].as_str().unwrap())
    }

    /// Creates an entry and returns its id.
    pub(crate) fn entry(&self, parent: &str, path: &str, selectors: &[&str], more: &[&str]) -> String {
        self.try_entry(parent, path, selectors, more).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_entry(
        &self,
        parent: &str,
        path: &str,
        selectors: &[&str],
        more: &[&str],
    ) -> Result<String, String> {
        let id = format!("spiffe://{}{path}", self.trust_domain);
        let mut arguments = vec!["entry", "create", "-output", "json", "-parentID", parent, "-spiffeID", &id];
        for selector in selectors {
            arguments.extend(["-selector", selector]);
        }
        arguments.extend(more);
        let json: Value = serde_json::from_str(&self.try_server_cli(&arguments)?).unwrap();
        let id = json.pointer("/results/0/entry/id").and_then(Value::as_str);
        Ok(id.unwrap_or_else(|| panic!("no entry id in {json}")).to_owned())
    }

    /// Gives this server the bundle of another as it is now, and lets an entry with one selector have it.
    pub(crate) fn federate(&self, with: &Self, entry: &str, path: &str, selector: &str) {
        self.learn_bundle_of(with);
        let domain = format!("spiffe://{}", with.trust_domain);
        self.update_entry(entry, path, selector, &["-federatesWith", &domain]);
    }

    /// The entry federates with nobody any more; the bundle stays.
    pub(crate) fn part(&self, entry: &str, path: &str, selector: &str) {
        self.update_entry(entry, path, selector, &[]);
    }

    fn update_entry(&self, entry: &str, path: &str, selector: &str, more: &[&str]) {
        let (parent, id) = (self.only_node(), format!("spiffe://{}{path}", self.trust_domain));
        let entry = ["-entryID", entry, "-parentID", &parent, "-spiffeID", &id, "-selector", selector];
        self.server_cli(&[&["entry", "update"], &entry[..], more].concat());
    }

    /// The bundle alone.
    pub(crate) fn learn_bundle_of(&self, other: &Self) {
        let document = other.path("bundle.json");
        fs::write(&document, other.server_cli(&["bundle", "show", "-format", "spiffe"])).unwrap();
        let domain = format!("spiffe://{}", other.trust_domain);
        let document = ["-id", &domain, "-path", document.to_str().unwrap()];
        self.server_cli(&[&["bundle", "set", "-format", "spiffe"], &document[..]].concat());
    }

    /// Forgets it, and that entries had it.
    pub(crate) fn forget_bundle_of(&self, other: &Self) {
        let domain = format!("spiffe://{}", other.trust_domain);
        self.server_cli(&["bundle", "delete", "-mode", "dissociate", "-id", &domain]);
    }

    /// Ids of all entries.
    pub(crate) fn entries(&self) -> Vec<String> {
        let json = self.server_json(&["entry", "show"]);
        let entries = json["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts an agent with a join token, without waiting for anything.
    pub(crate) fn spawn_agent(&self, token: &str) -> Agent {
        let attestor = Attestor::JoinToken(token.to_owned());
        Agent(TestAgent::start_without_waiting(&self.server, &attestor).unwrap())
    }

    /// Starts an agent with a join token of its own and waits until it serves.
    pub(crate) fn start_agent(&self) -> Agent {
        Agent(TestAgent::start(&self.server, &Attestor::JoinToken(self.join_token())).unwrap())
    }
}

impl Testbed {
    /// Starts an agent with further lines in its `agent` block, and waits until it serves.
    pub(crate) fn start_agent_with(&self, lines: &str) -> Agent {
        let bundle = self.server.bundle_file();
        let upstream = plastron_swtpm_tests::Upstream { lines, ..self.server.upstream(&bundle) };
        Agent(TestAgent::start_at(&upstream, &Attestor::JoinToken(self.join_token())).unwrap())
    }
}

/// An agent as workloads see it.
pub(crate) struct Agent(pub(crate) TestAgent);

impl Agent {
    pub(crate) fn process(&mut self) -> &mut Process {
        self.0.process()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.socket()
    }

    /// `api fetch x509` as the program at this path, which is a copy of the agent's own.
    pub(crate) fn fetch_as(&self, workload: &Path, arguments: &[&str]) -> Output {
        self.api_as(workload, &["fetch", "x509"], arguments)
    }

    /// Another verb of `api`, as the program at this path.
    pub(crate) fn api_as(&self, workload: &Path, verb: &[&str], arguments: &[&str]) -> Output {
        let mut command = Command::new(workload);
        command.arg("api").args(verb).args(["-timeout", "30s", "-socketPath"]).arg(self.socket()).args(arguments);
        command.output().unwrap()
    }

    /// The IDs that a workload has now, in order; empty if it has none.
    pub(crate) fn ids_of(&self, workload: &Path) -> Vec<String> {
        let output = self.fetch_as(workload, &["-output", "json"]);
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("no identity issued"), "{error}");
            return Vec::new();
        }
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let svids = json["svids"].as_array().unwrap();
        svids.iter().map(|svid| svid["spiffe_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until a workload has this ID.
    pub(crate) fn await_id(&self, workload: &Path, path: &str) {
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        eventually(&format!("{} to have {id}", workload.display()), || {
            self.ids_of(workload).contains(&id).then_some(())
        });
    }
}

/// Copies a client program, so that two workloads of one user differ in their path.
pub(crate) fn workload_program(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::copy(program("plastron-agent").unwrap(), &path).unwrap();
    path
}

/// `unix:uid:N` of whoever runs the tests.
pub(crate) fn own_uid() -> String {
    format!("unix:uid:{}", rustix::process::geteuid().as_raw())
}

/// `unix:path:P`.
pub(crate) fn path_of(workload: &Path) -> String {
    format!("unix:path:{}", workload.display())
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs openssl; the test fails if it does.
pub(crate) fn openssl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = Command::new(tool("openssl").unwrap()).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
