//! Servers below servers: at each level a server of either house, an agent of ours that joined with a token, and a workload, which is the
//! test itself. The server below is a workload of the agent above.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use plastron_swtpm_tests::{
    Attestor, HarnessError, Process, ServerOptions, Spire, SpireServer, SpireServerOptions, TRUST_DOMAIN, TestAgent,
    TestServer, Upstream, program, run,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use spiffe::{JwtSource, JwtSvid, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::spire_kit::eventually;

/// Whose server it is.
#[derive(Clone)]
pub(crate) enum House {
    Ours,
    Theirs(Spire),
}

pub(crate) enum Server {
    Ours(TestServer),
    Theirs(SpireServer),
}

/// A server, its agent and its workload.
pub(crate) struct Level {
    pub(crate) server: Server,
    pub(crate) agent: TestAgent,
    agent_id: String,
    workload: String,
    source: X509Source,
    tokens: JwtSource,
}

/// Levels, the root first.
pub(crate) struct Tree {
    runtime: Runtime,
    pub(crate) levels: Vec<Level>,
}

impl Server {
    pub(crate) fn root(house: &House) -> Self {
        Self::start(house, "", String::new()).unwrap()
    }

    fn start(house: &House, server_lines: &str, plugin_lines: String) -> Result<Self, HarnessError> {
        let server_lines = server_lines.to_owned();
        match house {
            House::Ours => {
                let options = ServerOptions { server_lines, plugin_lines, ..ServerOptions::default() };
                TestServer::start(options).map(Self::Ours)
            }
            House::Theirs(spire) => {
                let trust_domain = TRUST_DOMAIN.to_owned();
                let options = SpireServerOptions { trust_domain, server_lines, plugin_lines };
                SpireServer::start(spire, options).map(Self::Theirs)
            }
        }
    }

    /// A server below this one, by the Workload API on this socket.
    pub(crate) fn below(&self, house: &House, workload_api: &Path) -> Result<Self, HarnessError> {
        let lines = format!(
            "UpstreamAuthority \"spire\" {{ plugin_data {{ server_address = \"127.0.0.1\" server_port = \"{}\" \
             workload_api_socket = \"{}\" }} }}",
            self.port(),
            workload_api.display()
        );
        Self::start(house, "", lines)
    }

    fn port(&self) -> u16 {
        match self {
            Self::Ours(server) => server.port(),
            Self::Theirs(server) => server.port(),
        }
    }

    fn socket(&self) -> PathBuf {
        match self {
            Self::Ours(server) => server.socket(),
            Self::Theirs(server) => server.socket(),
        }
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        match self {
            Self::Ours(server) => server.process(),
            Self::Theirs(server) => server.process(),
        }
    }

    /// SIGKILL.
    pub(crate) fn stop(&mut self) {
        self.process().kill().unwrap();
    }

    /// With the same files.
    pub(crate) fn start_again(&mut self) {
        match self {
            Self::Ours(server) => server.start_again().unwrap(),
            Self::Theirs(server) => server.start_again().unwrap(),
        }
    }

    /// Our command line on its admin socket.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<Output, HarnessError> {
        run(Command::new(program("plastron-server")?).args(arguments).arg("-socketPath").arg(self.socket()))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.cli(&[arguments, &["-output", "json"]].concat()).unwrap().stdout;
        serde_json::from_slice(&printed).unwrap()
    }

    fn join_token(&self) -> String {
        let printed = String::from_utf8(self.cli(&["token", "generate"]).unwrap().stdout).unwrap();
        printed.lines().find_map(|line| line.strip_prefix("Token: ")).unwrap().to_owned()
    }

    fn agent(&self) -> TestAgent {
        let attestor = Attestor::JoinToken(self.join_token());
        let bundle_file = match self {
            Self::Ours(server) => server.bundle_file(),
            Self::Theirs(server) => server.bundle_file(),
        };
        let upstream = Upstream { port: self.port(), bundle_file: &bundle_file, trust_domain: TRUST_DOMAIN, lines: "" };
        TestAgent::start_at(&upstream, &attestor).unwrap()
    }

    /// The only agent that it lists.
    fn only_agent(&self) -> serde_json::Value {
        let listed = self.json(&["agent", "list"]);
        let agents = listed["agents"].as_array().unwrap();
        assert_eq!(agents.len(), 1, "{listed}");
        agents[0].clone()
    }

    /// An entry for whoever runs this program below the node; returns its ID.
    pub(crate) fn register(&self, node: &str, id: &str, program: &Path, flags: &[&str]) -> String {
        let selector = format!("unix:path:{}", program.canonicalize().unwrap().display());
        let entry = ["entry", "create", "-parentID", node, "-spiffeID", id, "-selector", &selector];
        let made = self.json(&[&entry, flags].concat());
        made["results"][0]["entry"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// The authority of this kind in this state.
    pub(crate) fn authority(&self, kind: &str, state: &str) -> String {
        let shown = self.json(&["localauthority", kind, "show"]);
        shown[state]["authority_id"].as_str().unwrap_or_else(|| panic!("{state} in {shown}")).to_owned()
    }

    /// The subject key identifier of the root that its active CA hangs from.
    pub(crate) fn upstream_authority(&self) -> String {
        let shown = self.json(&["localauthority", "x509", "show"]);
        shown["active"]["upstream_authority_subject_key_id"].as_str().unwrap_or_default().to_owned()
    }

    /// The bundle's certificates and key IDs.
    pub(crate) fn bundle(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let shown = self.json(&["bundle", "show"]);
        let texts = |list: &str, field: &str| {
            let items = shown[list].as_array().cloned().unwrap_or_default().into_iter();
            items.map(|item| item[field].as_str().unwrap().to_owned()).collect()
        };
        (texts("x509_authorities", "asn1"), texts("jwt_authorities", "key_id"))
    }

    fn is_tainted(&self, list: &str) -> bool {
        let shown = self.json(&["bundle", "show"]);
        shown[list].as_array().unwrap().iter().any(|item| item["tainted"].as_bool() == Some(true))
    }
}

impl Level {
    /// An agent of the server and a workload of that.
    pub(crate) fn of(runtime: &Runtime, server: Server, depth: usize) -> Self {
        let _already_there = default_provider().install_default();
        let agent = server.agent();
        let agent_id = format!("spiffe://{TRUST_DOMAIN}{}", server.only_agent()["id"]["path"].as_str().unwrap());
        let workload = format!("spiffe://{TRUST_DOMAIN}/workload-{depth}");
        server.register(&agent_id, &workload, &std::env::current_exe().unwrap(), &[]);
        let endpoint = format!("unix:{}", agent.socket().display());
        let build = || runtime.block_on(X509Source::builder().endpoint(&endpoint).build()).ok();
        let source = eventually("an X509Source", build);
        let build = || runtime.block_on(JwtSource::builder().endpoint(&endpoint).build()).ok();
        let tokens = eventually("a JwtSource", build);
        Self { server, agent, agent_id, workload, source, tokens }
    }

    /// The entry by which a server of this house nests below.
    pub(crate) fn register_below(&self, house: &House, flags: &[&str]) -> String {
        let program = match house {
            House::Ours => program("plastron-server").unwrap(),
            House::Theirs(spire) => spire.server_program().to_owned(),
        };
        self.server.register(&self.agent_id, &format!("spiffe://{TRUST_DOMAIN}/nested"), &program, flags)
    }

    /// What must change before the authority that it hangs from may go: the workload's leaf and the agent's serial number.
    fn svids(&self) -> (Vec<u8>, String) {
        let leaf = self.source.svid().unwrap().leaf().as_bytes().to_vec();
        (leaf, self.server.only_agent()["x509svid_serial_number"].as_str().unwrap().to_owned())
    }

    /// How many certificates its workload presents.
    pub(crate) fn chain_len(&self) -> usize {
        self.source.svid().unwrap().cert_chain().len()
    }
}

impl Tree {
    /// Servers of these houses, each below the one before.
    pub(crate) fn grow(houses: &[House]) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut levels: Vec<Level> = Vec::new();
        for (depth, house) in houses.iter().enumerate() {
            let server = match levels.last() {
                None => Server::root(house),
                Some(above) => {
                    above.register_below(house, &["-downstream"]);
                    above.server.below(house, &above.agent.socket()).unwrap()
                }
            };
            levels.push(Level::of(&runtime, server, depth));
        }
        Self { runtime, levels }
    }

    /// Every workload with every other: a handshake, and a token that the other takes.
    pub(crate) fn meet(&self) -> Result<(), String> {
        for (client, server) in self.levels.iter().flat_map(|one| self.levels.iter().map(move |other| (one, other))) {
            let ends = ((&client.source, client.workload.as_str()), (&server.source, server.workload.as_str()));
            self.runtime
                .block_on(shake_hands(ends.0, ends.1))
                .map_err(|error| format!("{} calls {}: {error}", client.workload, server.workload))?;
            let token = self.runtime.block_on(client.tokens.fetch_jwt_svid([server.workload.as_str()]));
            let token = token.map_err(|error| format!("a token of {}: {error}", client.workload))?;
            JwtSvid::parse_and_validate(token.token(), &server.tokens, &[server.workload.as_str()])
                .map_err(|error| format!("the token of {} at {}: {error}", client.workload, server.workload))?;
        }
        Ok(())
    }

    /// No gap: what fails once and not again is an SVID that was replaced in the midst of it.
    fn meet_always(&self) {
        if let Err(error) = self.meet() {
            println!("met again after: {error}");
            self.meet().unwrap();
        }
    }

    /// Prepares, activates, taints and revokes an authority of the root while all workloads meet all the while; each step waits until what
    /// hung from the old one is replaced everywhere.
    pub(crate) fn move_root(&self, kind: &str) {
        let root = &self.levels.first().unwrap().server;
        let verb = |verb: &str, id: &str| root.cli(&["localauthority", kind, verb, "-authorityID", id]);
        let old = root.authority(kind, "active");
        root.cli(&["localauthority", kind, "prepare"]).unwrap();
        let new = root.authority(kind, "prepared");
        eventually("the prepared authority everywhere", || {
            self.meet_always();
            let wanted = root.bundle();
            let has = |level: &Level| {
                let (x509, jwt) = level.server.bundle();
                x509.is_superset(&wanted.0) && jwt.is_superset(&wanted.1)
            };
            self.levels.iter().all(has).then_some(())
        });
        eventually("its activation", || {
            self.meet_always();
            verb("activate", &new).ok()
        });
        let before: Vec<_> = self.levels.iter().map(Level::svids).collect();
        verb("taint", &old).unwrap();
        if kind == "x509" {
            eventually("SVIDs of the new root everywhere", || {
                self.meet_always();
                let is_new = |(level, before): (&Level, &(Vec<u8>, String))| {
                    let now = level.svids();
                    now.0 != before.0 && now.1 != before.1
                };
                self.levels.iter().zip(&before).all(is_new).then_some(())
            });
            for level in self.levels.iter().skip(1) {
                // SPIRE names the CA directly above its own.
                assert!(is_spires(level) || level.server.upstream_authority() == new, "below the new root");
                eventually("the taint", || level.server.is_tainted("x509_authorities").then_some(()));
            }
        } else {
            self.meet_always();
        }
        let gone = root.bundle();
        verb("revoke", &old).unwrap();
        let left = root.bundle();
        assert_ne!(gone, left);
        eventually("the revocation everywhere", || {
            self.meet_always();
            let lacks = |depth: usize, level: &Level| {
                let (x509, jwt) = level.server.bundle();
                // SPIRE's server takes no JWT key away that its upstream revoked, so nor does who is below it.
                let keeps_keys = self.levels.iter().take(depth + 1).skip(1).any(is_spires);
                gone.0.difference(&left.0).all(|it| !x509.contains(it)) && (!jwt.contains(&old) || keeps_keys)
            };
            self.levels.iter().enumerate().all(|(depth, level)| lacks(depth, level)).then_some(())
        });
    }
}

fn is_spires(level: &Level) -> bool {
    matches!(level.server, Server::Theirs(_))
}

/// The client says hello, and each end takes the other only by this ID.
async fn shake_hands(client: (&X509Source, &str), server: (&X509Source, &str)) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let expect_server = authorizer::exact([server.1]).map_err(|error| say(&error))?;
    let expect_client = authorizer::exact([client.1]).map_err(|error| say(&error))?;
    let of_client = mtls_client(client.0.clone()).authorize(expect_server).build().map_err(|error| say(&error))?;
    let of_server = mtls_server(server.0.clone()).authorize(expect_client).build().map_err(|error| say(&error))?;
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving = async {
        let mut stream = TlsAcceptor::from(Arc::new(of_server)).accept(far).await.map_err(|error| say(&error))?;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.map_err(|error| say(&error))?;
        stream.write_all(&hello).await.map_err(|error| say(&error))?;
        stream.shutdown().await.map_err(|error| say(&error))
    };
    let calling = async {
        let name = ServerName::try_from("not.looked.at").map_err(|error| say(&error))?;
        let connecting = TlsConnector::from(Arc::new(of_client)).connect(name, near);
        let mut stream = connecting.await.map_err(|error| say(&error))?;
        stream.write_all(b"hello").await.map_err(|error| say(&error))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(|error| say(&error))?;
        if answer == "hello" { Ok(()) } else { Err(answer) }
    };
    match tokio::join!(serving, calling) {
        (Ok(()), Ok(())) => Ok(()),
        (served, called) => Err(format!("server: {served:?}; client: {called:?}")),
    }
}
