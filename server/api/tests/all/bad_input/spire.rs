//! The same messages to SPIRE's server, where `SPIRE_SERVER_BIN` says where it is.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{CreateJoinTokenRequest, attest_agent_response};
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::types::{Entry, Selector};
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, TrustDomain, X509Authority};
use plastron_transport::{BundleSlot, ClientTls, IdentitySlot, TlsIdentity, unix_channel};
use tonic::transport::Channel;

use super::good::{World, id};
use super::tls::ADMINISTRATOR;
use super::{Agent, Ways, ask, of_spire, ours, world};
use crate::harness::{TRUST_DOMAIN, csr, params};

/// SPIRE's server, ended with its folder.
pub(super) struct Spire {
    child: Child,
    address: String,
    bundles: Arc<BundleSlot>,
    _dir: tempfile::TempDir,
}

impl Spire {
    /// A TLS connection, with an SVID or without.
    pub(super) fn tls(&self, identity: Option<&Agent>) -> Channel {
        let server = TrustDomain::parse(TRUST_DOMAIN).unwrap().with_path("/spire/server").unwrap();
        let identity = identity.map(|agent| {
            let svid = X509Svid::parse(agent.svid.cert_chain.clone()).unwrap();
            IdentitySlot::new(TlsIdentity::new(&svid, &agent.key.serialize_der()).unwrap())
        });
        ClientTls::new(server, Arc::clone(&self.bundles), identity).connect_lazy(&self.address).unwrap()
    }
}

impl Drop for Spire {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

pub(super) async fn start(program: PathBuf) -> (Spire, Ways, World) {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = dir.path().display();
    let config = format!(
        "server {{\n bind_address = \"127.0.0.1\"\n bind_port = {port}\n socket_path = \"{here}/api.sock\"\n \
         trust_domain = \"{TRUST_DOMAIN}\"\n data_dir = \"{here}\"\n admin_ids = [\"{ADMINISTRATOR}\"]\n log_level = \"ERROR\"\n \
         ratelimit {{\n attestation = false\n signing = false\n }}\n}}\nplugins {{\n DataStore \"sql\" {{ plugin_data {{\n \
         database_type = \"sqlite3\"\n connection_string = \"{here}/db\"\n }} }}\n \
         NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n KeyManager \"memory\" {{ plugin_data {{}} }}\n}}\n"
    );
    let file = dir.path().join("server.conf");
    std::fs::write(&file, config).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new(program).arg("run").arg("-config").arg(&file).stdout(Stdio::null()).stderr(log).spawn();
    let bundles = BundleSlot::new([Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap())]);
    let spire = Spire { child: child.unwrap(), address: format!("127.0.0.1:{port}"), bundles, _dir: dir };
    let local = unix_channel(spire._dir.path().join("api.sock"));
    let request = CreateJoinTokenRequest { ttl: 600, ..Default::default() };
    let token = loop {
        match AgentClient::new(local.clone()).create_join_token(request.clone()).await {
            Ok(token) => break token.into_inner().value,
            Err(_not_yet) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let bundle = BundleClient::new(local.clone()).get_bundle(GetBundleRequest::default()).await.unwrap().into_inner();
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let mut trusted = Bundle::empty(trust_domain);
    trusted.x509_authorities =
        bundle.x509_authorities.into_iter().map(|one| X509Authority::parse(one.asn1).unwrap()).collect();
    spire.bundles.replace([trusted]);
    let anonymous = spire.tls(None);
    let key = rcgen::KeyPair::generate().unwrap();
    let messages = [params("join_token", token.as_bytes(), &csr(&key))];
    let mut client = AgentClient::new(anonymous.clone());
    let mut answers = client.attest_agent(tokio_stream::iter(messages)).await.unwrap().into_inner();
    let Some(attest_agent_response::Step::Result(result)) = answers.message().await.unwrap().unwrap().step else {
        panic!("a join token has no challenge");
    };
    let agent = Agent { key, svid: result.svid.unwrap() };
    let entry = Entry {
        spiffe_id: id("/db"),
        parent_id: agent.svid.id.clone(),
        selectors: vec![Selector { r#type: "unix".into(), value: "uid:1000".into() }],
        ..Default::default()
    };
    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
    let created = EntryClient::new(local.clone()).batch_create_entry(request).await.unwrap().into_inner();
    let entry_id = created.results[0].entry.clone().unwrap().id;
    let ways = Ways { agent: spire.tls(Some(&agent)), local, anonymous };
    // Its cache of entries is read anew every five seconds.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let world = world(&agent, entry_id);
    (spire, ways, world)
}

/// A line of `divergences.txt`: method, field, fault, their code and ours; `*` stands for any, `…*` for any that begins so.
pub(super) fn explained(table: &str, words: &[&str]) -> bool {
    let fits = |pattern: &str, word: &str| match pattern.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => pattern == word,
    };
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace()).any(|line| {
        let pattern: Vec<_> = line.collect();
        pattern.len() == words.len() && pattern.iter().zip(words).all(|(pattern, word)| fits(pattern, word))
    })
}

#[tokio::test]
async fn spires_server_answers_the_same_but_for_what_is_explained() {
    let Some(program) = std::env::var_os("SPIRE_SERVER_BIN") else {
        println!("NOT RUN: SPIRE_SERVER_BIN is not set");
        return;
    };
    let (_spire, ways, world) = start(program.into()).await;
    let theirs = ask(|method| ways.of(method), &world, of_spire).await;
    let (_server, ways, world) = ours().await;
    let ours = ask(|method| ways.of(method), &world, of_spire).await;
    assert_eq!(theirs.len(), ours.len());
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/divergences.txt")).unwrap();
    let (mut unexplained, mut texts) = (Vec::new(), String::new());
    for ((method, field, how), mine) in &ours {
        let spires = &theirs[&(*method, field.clone(), *how)];
        let field = if field.is_empty() { "(whole)" } else { field };
        let how = how.replace(' ', "-");
        let line = format!("{method} {field} {how} {} {}", spires.codes, mine.codes);
        if spires.codes == mine.codes {
            if spires.text != mine.text {
                texts.push_str(&format!("{line}\n  theirs: {:.300}\n  ours:   {:.300}\n", spires.text, mine.text));
            }
        } else if !explained(&table, &[method, field, &how, &spires.codes, &mine.codes]) {
            unexplained.push(format!("{line}\n    theirs: {:.300}\n    ours:   {:.300}", spires.text, mine.text));
        }
    }
    if let Some(path) = std::env::var_os("SHOW_TEXTS") {
        std::fs::write(path, texts).unwrap();
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
}
