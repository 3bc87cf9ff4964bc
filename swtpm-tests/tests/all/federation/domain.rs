//! A trust domain: its server with a bundle endpoint, and what an operator does there.

use std::path::PathBuf;

use plastron_swtpm_tests::{Attestor, ServerOptions, TestAgent, TestServer};
use serde_json::Value;

use crate::workloads::testbed::{eventually, own_uid, path_of, workload_program};

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) struct Domain {
    pub(super) name: &'static str,
    pub(super) server: TestServer,
    pub(super) directory: tempfile::TempDir,
}

impl Domain {
    /// A server with this `federation` block.
    pub(super) fn start(name: &'static str, federation: &str, environment: &[(&str, &str)]) -> Self {
        let server_lines = format!("federation {{\n{federation}\n}}\n  ratelimit {{ attestation = false }}");
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = ServerOptions { trust_domain: name, environment, server_lines, ..Default::default() };
        Self { name, server: TestServer::start(options).unwrap(), directory: tempfile::tempdir().unwrap() }
    }

    pub(super) fn id(&self) -> String {
        format!("spiffe://{}", self.name)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        match self.server.cli(arguments) {
            Ok(output) => Ok(String::from_utf8(output.stdout).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.cli(&[arguments, &["-output", "json"]].concat())).unwrap()
    }

    /// Takes over the other domain's bundle by hand, as operators do at the beginning.
    pub(super) fn bootstrap(&self, other: &Self) {
        let path = self.path("foreign.json");
        std::fs::write(&path, other.cli(&["bundle", "show", "-format", "spiffe"])).unwrap();
        self.cli(&["bundle", "set", "-id", &other.id(), "-format", "spiffe", "-path", &path]);
    }

    /// The bundle of the other domain, as it is kept here.
    pub(super) fn kept(&self, other: &str) -> Option<Kept> {
        let id = format!("spiffe://{other}");
        let text = self.try_cli(&["bundle", "list", "-id", &id, "-output", "json"]).ok()?;
        let json: Value = serde_json::from_str(&text).unwrap();
        let number = |name: &str| json[name].as_str().map_or(0, |text| text.parse().unwrap());
        let authorities = json["x509_authorities"].as_array().map_or(0, Vec::len);
        Some(Kept { sequence: number("sequence_number"), hint: number("refresh_hint"), authorities })
    }

    pub(super) fn until_kept(&self, other: &str, what: &str, check: impl Fn(&Kept) -> bool) -> Kept {
        eventually(what, || self.kept(other).filter(&check))
    }

    /// The sequence number of its own bundle.
    pub(super) fn sequence(&self) -> u64 {
        self.json(&["bundle", "show"])["sequence_number"].as_str().unwrap().parse().unwrap()
    }

    pub(super) fn refresh(&self, other: &str) -> Result<String, String> {
        self.try_cli(&["federation", "refresh", "-id", &format!("spiffe://{other}")])
    }

    /// An agent, and a workload on it that trusts the other domain too.
    pub(super) fn workload(&self, other: &Self) -> Workload {
        let agent = TestAgent::start(&self.server, &Attestor::JoinToken(self.server.join_token().unwrap())).unwrap();
        let nodes = self.json(&["agent", "list"]);
        let node = format!("{}{}", self.id(), nodes["agents"][0]["id"]["path"].as_str().unwrap());
        let program = workload_program(self.directory.path(), "web");
        let id = format!("{}/web", self.id());
        let (user, path) = (own_uid(), path_of(&program));
        self.cli(&[
            "entry",
            "create",
            "-parentID",
            &node,
            "-spiffeID",
            &id,
            "-selector",
            &user,
            "-selector",
            &path,
            "-federatesWith",
            &other.id(),
        ]);
        Workload { agent, program, directory: tempfile::tempdir().unwrap() }
    }
}

/// What a server keeps of another domain's bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) hint: u64,
    pub(super) authorities: usize,
}

pub(super) struct Workload {
    agent: TestAgent,
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Workload {
    pub(super) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// `api fetch x509 -write` once there is an SVID and the other domain's bundle has so many certificates.
    pub(super) fn until_federated(&self, certificates: usize) -> String {
        eventually(&format!("{certificates} foreign authorities at a workload"), || {
            let mut fetch = std::process::Command::new(&self.program);
            fetch.args(["api", "fetch", "x509", "-timeout", "30s", "-socketPath"]).arg(self.agent.socket());
            let fetched = fetch.arg("-write").arg(self.directory.path()).output().unwrap();
            let bundle = std::fs::read_to_string(self.file("federated_bundle.0.0.pem")).ok()?;
            (fetched.status.success() && bundle.matches("BEGIN CERTIFICATE").count() == certificates).then_some(bundle)
        })
    }
}
