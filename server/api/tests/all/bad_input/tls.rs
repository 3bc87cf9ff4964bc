//! The same messages over TLS, as everyone who can come in by the network: who is answered what.
//!
//! `tests/bad-input-tls.txt` has the answers, reviewed: of each caller and method one line if all its cases are answered alike, and else the
//! lines in which it differs from `bad-input.txt`. Beside SPIRE's server each difference is one that `divergences.txt` or, with the caller as
//! its first word, `divergences-tls.txt` explains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use plastron_proto::spire::api::server::entry::v1::BatchCreateEntryRequest;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::svid::v1::MintX509svidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::types::{Entry, Selector};
use plastron_server_core::authorization::Method;
use tonic::transport::Channel;

use super::good::{World, id};
use super::spire::explained;
use super::{Case, Outcome, ask, of_spire, ours, render};
use crate::harness::{Agent, TRUST_DOMAIN};

/// Whom the configuration of both servers makes an administrator.
pub(super) const ADMINISTRATOR: &str = "spiffe://example.org/admin";

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-input-tls.txt");

/// Everyone with an SVID, before whom there is something to change: those who may change most come last.
const CALLERS: [&str; 5] = ["stranger", "workload", "agent", "downstream", "administrator"];

/// An SVID for a path, minted on the admin socket; a workload has no entry that says more of it.
async fn minted(local: &Channel, path: &str) -> Agent {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("spiffe://{TRUST_DOMAIN}{path}");
    params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
    let csr = params.serialize_request(&key).unwrap().der().to_vec();
    let request = MintX509svidRequest { csr, ttl: 3_000 };
    let answer = SvidClient::new(local.clone()).mint_x509svid(request).await.unwrap().into_inner();
    Agent { key, svid: answer.svid.unwrap() }
}

/// Those who are neither the agent nor a stranger.
async fn identities(local: &Channel, world: &World) -> BTreeMap<&'static str, Agent> {
    let entry = Entry {
        spiffe_id: id("/downstream"),
        parent_id: Some(world.agent.clone()),
        selectors: vec![Selector { r#type: "unix".into(), value: "uid:2000".into() }],
        downstream: true,
        ..Entry::default()
    };
    let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
    EntryClient::new(local.clone()).batch_create_entry(request).await.unwrap();
    let mut identities = BTreeMap::new();
    for (caller, path) in [("workload", "/workload"), ("downstream", "/downstream"), ("administrator", "/admin")] {
        identities.insert(caller, minted(local, path).await);
    }
    identities
}

type Answers = BTreeMap<&'static str, BTreeMap<Case, Outcome>>;

/// Everything, as everyone. A stream without an end is left out where it is served.
async fn ask_as_all(channels: &BTreeMap<&'static str, Channel>, world: &World, of: fn(Method) -> bool) -> Answers {
    let mut answers = Answers::new();
    for caller in CALLERS {
        let wanted = |method| of(method) && !(caller == "agent" && method == Method::WatchSubscribe);
        answers.insert(caller, ask(|_method| &channels[caller], world, wanted).await);
    }
    answers
}

async fn ours_as_all(of: fn(Method) -> bool) -> Answers {
    let (server, ways, world) = ours().await;
    let identities = identities(&server.local, &world).await;
    let mut channels = BTreeMap::from([("stranger", ways.anonymous), ("agent", ways.agent)]);
    for (caller, identity) in &identities {
        channels.insert(caller, server.tls(Some(identity)).await);
    }
    ask_as_all(&channels, &world, of).await
}

fn render_all(answers: &Answers, local: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    for caller in CALLERS {
        let mut methods: BTreeMap<_, BTreeMap<Case, Outcome>> = BTreeMap::new();
        for (case, outcome) in &answers[caller] {
            methods.entry(case.0).or_default().insert(case.clone(), outcome.clone());
        }
        for (method, outcomes) in methods {
            let codes: BTreeSet<_> = outcomes.values().map(|outcome| outcome.codes.as_str()).collect();
            if let [code] = Vec::from_iter(codes)[..] {
                writeln!(text, "{caller} {method}: {code}").unwrap();
                continue;
            }
            let rendered = render(&outcomes);
            let others: Vec<_> = rendered.lines().filter(|line| !local.contains(line)).collect();
            writeln!(text, "{caller} {method}: as in bad-input.txt{}", if others.is_empty() { "" } else { ", but" })
                .unwrap();
            for line in others {
                writeln!(text, "  {}", line.strip_prefix(method).unwrap_or(line).trim_start()).unwrap();
            }
        }
    }
    text
}

/// Threat 23
#[tokio::test]
async fn everyone_over_tls_is_answered_as_reviewed() {
    let answers = ours_as_all(|_method| true).await;
    let local = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-input.txt")).unwrap();
    let rendered = render_all(&answers, &local.lines().collect());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &rendered).unwrap();
    }
    assert!(answers.values().all(|answers| answers.len() > 1_000), "cases are missing");
    let reviewed = std::fs::read_to_string(GOLDEN).unwrap();
    for (expected, got) in reviewed.lines().zip(rendered.lines()) {
        assert_eq!(expected, got);
    }
    assert_eq!(reviewed.len(), rendered.len());
}

#[tokio::test]
async fn spires_server_answers_everyone_over_tls_the_same_but_for_what_is_explained() {
    let Some(program) = std::env::var_os("SPIRE_SERVER_BIN") else {
        println!("NOT RUN: SPIRE_SERVER_BIN is not set");
        return;
    };
    let (spire, ways, world) = super::spire::start(program.into()).await;
    let identities = identities(&ways.local, &world).await;
    let mut channels = BTreeMap::from([("stranger", ways.anonymous), ("agent", ways.agent)]);
    channels.extend(identities.iter().map(|(caller, identity)| (*caller, spire.tls(Some(identity)))));
    let theirs = ask_as_all(&channels, &world, of_spire).await;
    let ours = ours_as_all(of_spire).await;
    let read = |name| std::fs::read_to_string(format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (table, own_table) = (read("divergences.txt"), read("divergences-tls.txt"));
    let mut unexplained = String::new();
    let mut unused: BTreeSet<_> = own_table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for caller in CALLERS {
        assert_eq!(theirs[caller].len(), ours[caller].len());
        for ((method, field, how), mine) in &ours[caller] {
            let spires = &theirs[caller][&(*method, field.clone(), *how)];
            let (field, how) = (if field.is_empty() { "(whole)" } else { field }, how.replace(' ', "-"));
            let words = [caller, method, field, &how, &spires.codes, &mine.codes];
            if spires.codes == mine.codes || explained(&table, &words[1..]) {
                continue;
            }
            let before = unused.len();
            unused.retain(|line| !explained(line, &words));
            if before == unused.len() && !explained(&own_table, &words) {
                let texts = format!("    theirs: {:.200}\n    ours:   {:.200}", spires.text, mine.text);
                writeln!(unexplained, "{}\n{texts}", words.join(" ")).unwrap();
            }
        }
    }
    assert!(unexplained.is_empty(), "{} lines:\n{unexplained}", unexplained.lines().count());
    assert!(unused.is_empty(), "these explain nothing any more: {unused:?}");
}
