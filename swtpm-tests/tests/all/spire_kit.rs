//! Two programs of different houses: our server with SPIRE's agent, or SPIRE's server with our agent. Whoever talks to a socket is of the
//! house that did not make it, so that each scenario shows both programs and both command lines.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use plastron_swtpm_tests::{
    Attestor, HarnessError, Process, ServerOptions, Spire, SpireAgent, SpireServer, SpireServerOptions, TRUST_DOMAIN,
    TestAgent, TestServer, Upstream, program, run,
};

/// How long anything may take. It takes seconds; a loaded machine may need more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the two programs is SPIRE's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theirs {
    Agent,
    Server,
}

enum Server {
    Ours(TestServer),
    Theirs(SpireServer),
}

enum Agent {
    Ours(TestAgent),
    Theirs(SpireAgent),
}

/// A server of one house, for agents of the other.
pub(crate) struct Pair {
    spire: Spire,
    trust_domain: &'static str,
    server: Server,
}

/// An agent of one house at a server of the other.
pub(crate) struct Node {
    spire: Spire,
    agent: Agent,
}

impl Pair {
    /// `None` where SPIRE's programs are not there.
    pub(crate) fn start(theirs: Theirs, server_lines: &str, plugin_lines: &str) -> Option<Self> {
        Self::start_in(TRUST_DOMAIN, theirs, server_lines, plugin_lines)
    }

    /// The same in a trust domain of its own.
    pub(crate) fn start_in(
        trust_domain: &'static str,
        theirs: Theirs,
        server_lines: &str,
        plugin_lines: &str,
    ) -> Option<Self> {
        let spire = Spire::from_env()?;
        let (server_lines, plugin_lines) = (server_lines.to_owned(), plugin_lines.to_owned());
        let server = match theirs {
            Theirs::Agent => Server::Ours(
                TestServer::start(ServerOptions {
                    trust_domain,
                    server_lines,
                    plugin_lines,
                    ..ServerOptions::default()
                })
                .unwrap(),
            ),
            Theirs::Server => {
                let options = SpireServerOptions { trust_domain: trust_domain.to_owned(), server_lines, plugin_lines };
                Server::Theirs(SpireServer::start(&spire, options).unwrap())
            }
        };
        Some(Self { spire, trust_domain, server })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        match &self.server {
            Server::Ours(server) => server.socket(),
            Server::Theirs(server) => server.socket(),
        }
    }

    /// The port that agents and servers below connect to, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        match &self.server {
            Server::Ours(server) => server.upstream(&server.bundle_file()).port,
            Server::Theirs(server) => server.port(),
        }
    }

    /// The command line of the other house on this server's admin socket.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        match &self.server {
            Server::Ours(server) => self.spire.server_cli(&server.socket(), arguments),
            Server::Theirs(server) => {
                run(Command::new(program("plastron-server")?).args(arguments).arg("-socketPath").arg(server.socket()))
            }
        }
    }

    /// What it prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.cli(&[arguments, &["-output", "json"]].concat()).unwrap().stdout;
        serde_json::from_slice(&printed).unwrap()
    }

    /// What it prints.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.cli(arguments).unwrap().stdout).unwrap()
    }

    /// Gives it `input` to read; fails if it does.
    pub(crate) fn feed(&self, arguments: &[&str], input: &str) -> String {
        let program = match &self.server {
            Server::Ours(_) => self.spire.server_program().to_owned(),
            Server::Theirs(_) => program("plastron-server").unwrap(),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .arg("-socketPath")
            .arg(self.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn join_token(&self) -> Attestor<'static> {
        let printed = self.text(&["token", "generate"]);
        let token = printed.lines().find_map(|line| line.strip_prefix("Token: ")).unwrap();
        Attestor::JoinToken(token.to_owned())
    }

    /// An entry for this user's processes below the node; returns its ID.
    pub(crate) fn register(&self, node: &str, name: &str) -> String {
        self.register_with(node, name, &[])
    }

    /// The same with further flags.
    pub(crate) fn register_with(&self, node: &str, name: &str, flags: &[&str]) -> String {
        let (id, selector) = (format!("spiffe://{}/{name}", self.trust_domain), own_selector());
        let entry = ["entry", "create", "-parentID", node, "-spiffeID", &id, "-selector", &selector];
        let made = self.json(&[&entry, flags].concat());
        made["results"][0]["entry"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// The only agent that it lists.
    pub(crate) fn only_agent(&self) -> String {
        let listed = self.json(&["agent", "list"]);
        let agents = listed["agents"].as_array().unwrap();
        assert_eq!(agents.len(), 1, "{listed}");
        let path = agents[0]["id"]["path"].as_str().unwrap();
        format!("spiffe://{}{path}", self.trust_domain)
    }

    pub(crate) fn restart(&mut self) {
        match &mut self.server {
            Server::Ours(server) => {
                server.terminate().unwrap();
                server.start_again().unwrap();
            }
            Server::Theirs(server) => {
                server.terminate().unwrap();
                server.start_again().unwrap();
            }
        }
    }

    /// It starts anew with a CA of its own, and tells agents so that begin.
    pub(crate) fn lose_data(&mut self) {
        match &mut self.server {
            Server::Ours(server) => server.lose_data().unwrap(),
            Server::Theirs(server) => server.lose_data().unwrap(),
        }
    }

    pub(crate) fn node(&self, attestor: &Attestor<'_>) -> Node {
        self.node_with(attestor, "")
    }

    /// The same with further lines of the `agent` block.
    pub(crate) fn node_with(&self, attestor: &Attestor<'_>, lines: &str) -> Node {
        let agent = match &self.server {
            Server::Ours(server) => {
                let bundle = server.bundle_file();
                let upstream = Upstream { lines, ..server.upstream(&bundle) };
                Agent::Theirs(SpireAgent::start(&self.spire, &upstream, attestor).unwrap())
            }
            Server::Theirs(server) => {
                let bundle = server.bundle_file();
                Agent::Ours(TestAgent::start_at(&server.upstream(&bundle, lines), attestor).unwrap())
            }
        };
        Node { spire: self.spire.clone(), agent }
    }
}

impl Node {
    pub(crate) fn process(&mut self) -> &mut Process {
        match &mut self.agent {
            Agent::Ours(agent) => agent.process(),
            Agent::Theirs(agent) => agent.process(),
        }
    }

    /// The socket of its Workload API.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.agent {
            Agent::Ours(agent) => agent.socket(),
            Agent::Theirs(agent) => agent.socket(),
        }
    }

    /// The command line of the other house on this agent's Workload API.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        match &self.agent {
            Agent::Ours(agent) => self.spire.agent_cli(&agent.socket(), arguments),
            Agent::Theirs(agent) => {
                run(Command::new(program("plastron-agent")?).args(arguments).arg("-socketPath").arg(agent.socket()))
            }
        }
    }

    /// The IDs that a workload of this user gets; none while it gets none.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let Ok(printed) = self.cli(&["api", "fetch", "x509", "-output", "json"]) else { return BTreeSet::new() };
        let response: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
        let ids = response["svids"].as_array().unwrap().iter();
        ids.map(|svid| svid["spiffe_id"].as_str().unwrap().to_owned()).collect()
    }

    /// The certificate that a workload of this user gets, Base64.
    pub(crate) fn certificate(&self) -> Option<String> {
        let printed = self.cli(&["api", "fetch", "x509", "-output", "json"]).ok()?.stdout;
        let response: serde_json::Value = serde_json::from_slice(&printed).unwrap();
        response["svids"][0]["x509_svid"].as_str().map(str::to_owned)
    }

    /// A new token for this audience.
    pub(crate) fn token(&self, audience: &str) -> Option<String> {
        let printed = self.cli(&["api", "fetch", "jwt", "-audience", audience, "-output", "json"]).ok()?.stdout;
        let response: serde_json::Value = serde_json::from_slice(&printed).unwrap();
        response[0]["svids"][0]["svid"].as_str().map(str::to_owned)
    }

    /// Where it ends by itself, somebody starts it again.
    pub(crate) fn keep_up(&mut self) {
        if self.process().is_running() {
            return;
        }
        match &mut self.agent {
            Agent::Ours(agent) => agent.start_again_without_waiting().unwrap(),
            Agent::Theirs(agent) => agent.start_again_without_waiting().unwrap(),
        }
    }

    pub(crate) fn restart(&mut self) {
        match &mut self.agent {
            Agent::Ours(agent) => {
                agent.terminate().unwrap();
                agent.start_again().unwrap();
            }
            Agent::Theirs(agent) => {
                agent.terminate().unwrap();
                agent.start_again().unwrap();
            }
        }
    }
}

/// The selector of whoever runs the tests.
pub(crate) fn own_selector() -> String {
    format!("unix:uid:{}", rustix::process::getuid().as_raw())
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until a workload of this user gets exactly these names.
pub(crate) fn serves(node: &Node, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("spiffe://{TRUST_DOMAIN}/{name}")).collect();
    eventually(&format!("{names:?}"), || (node.ids() == wanted).then_some(()));
}
