//! Every RPC with every field missing, of another type, too long, hostile: a table that the descriptors write.
//!
//! `tests/bad-input.txt` has what each case is answered, reviewed. After a deliberate change:
//! `UPDATE_GOLDEN=1 cargo test -p plastron-server-api --test all bad_input`. Where `SPIRE_SERVER_BIN` names SPIRE's server, the same
//! messages are sent to both, and each difference is one that `divergences.txt` explains.

mod good;
mod raw;
mod spire;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plastron_server_core::authorization::Method;
use plastron_spiffe::SpiffeId;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Agent, Server};
use good::World;
use wire::{Interfaces, Spoilt};

/// The three ways in.
struct Ways {
    local: Channel,
    agent: Channel,
    anonymous: Channel,
}

impl Ways {
    /// The way of those for whom the method is.
    fn of(&self, method: Method) -> &Channel {
        let columns = method.columns();
        match (columns.local, columns.agent) {
            (true, _) => &self.local,
            (false, true) => &self.agent,
            (false, false) => &self.anonymous,
        }
    }
}

/// What a case was answered: the code and, of a batch, those of its items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    codes: String,
    text: String,
}

/// One case: method, field, fault.
type Case = (&'static str, String, &'static str);

/// An authority's certificate, self-signed, with a SPIFFE ID.
fn authority(key: &rcgen::KeyPair) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.subject_alt_names.push(rcgen::SanType::URI("spiffe://other.org".try_into().unwrap()));
    params.self_signed(key).unwrap().der().to_vec()
}

fn world(agent: &Agent, entry_id: String) -> World {
    let key = rcgen::KeyPair::generate().unwrap();
    World { agent: agent.svid.id.clone().unwrap(), entry_id, authority: authority(&key), key }
}

/// Whether SPIRE has the method, and the message is one of those that have an end.
fn of_spire(method: Method) -> bool {
    method.path().starts_with("/spire.") || method.path().starts_with("/grpc.health.v1.Health/Check")
}

/// Sends everything, in one order.
async fn ask<'a>(
    way: impl Fn(Method) -> &'a Channel,
    world: &World,
    wanted: impl Fn(Method) -> bool,
) -> BTreeMap<Case, Outcome> {
    let interfaces = Interfaces::read();
    let mut outcomes = BTreeMap::new();
    for method in &interfaces.methods {
        let Some(row) = Method::from_path(&method.path).filter(|row| wanted(*row)) else { continue };
        let good = good::message(row, world);
        let whole = Spoilt { field: String::new(), how: "good", bytes: good.clone() };
        let spoilt = interfaces.spoil(method, &good);
        for Spoilt { field, how, bytes } in std::iter::once(whole).chain(spoilt) {
            let outcome = match raw::call(way(row), row.path(), bytes).await {
                Ok(answer) => {
                    let mut items = interfaces.items(method, &answer);
                    items.dedup();
                    let named: Vec<_> = items.iter().map(|item| format!("{:?}", Code::from(item.code))).collect();
                    let codes = if named.is_empty() { "Ok".to_owned() } else { format!("Ok({})", named.join(",")) };
                    Outcome { codes, text: items.into_iter().map(|item| item.message).collect::<Vec<_>>().join("; ") }
                }
                Err(status) => Outcome { codes: format!("{:?}", status.code()), text: status.message().to_owned() },
            };
            outcomes.insert((row.path(), field, how), outcome);
        }
    }
    outcomes
}

fn render(outcomes: &BTreeMap<Case, Outcome>) -> String {
    let mut text = String::new();
    let mut line = None;
    for ((method, field, how), Outcome { codes, .. }) in outcomes {
        if line != Some((method, field)) {
            line = Some((method, field));
            write!(text, "\n{method} {}:", if field.is_empty() { "(whole)" } else { field }).unwrap();
        }
        write!(text, " {}={codes}", how.replace(' ', "-")).unwrap();
    }
    text.trim_start().to_owned() + "\n"
}

async fn ours() -> (Server, Ways, World) {
    let admin = SpiffeId::parse(tls::ADMINISTRATOR).unwrap();
    let server = Server::configured(|config| config.admin_ids = vec![admin]).await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry_id = server.entry(&agent, "/db").await;
    let ways =
        Ways { local: server.local.clone(), agent: server.tls(Some(&agent)).await, anonymous: server.tls(None).await };
    let world = world(&agent, entry_id);
    (server, ways, world)
}

/// Threat 30
#[tokio::test]
async fn every_field_of_every_rpc_is_answered_as_reviewed() {
    let (_server, ways, world) = ours().await;
    let endless = |method| matches!(method, Method::HealthWatch | Method::WatchSubscribe);
    let outcomes = ask(|method| ways.of(method), &world, |method| !endless(method)).await;
    for (case, outcome) in &outcomes {
        assert!(!outcome.text.contains('\u{1b}'), "what a stranger wrote steers terminals: {case:?} {outcome:?}");
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-input.txt");
    let rendered = render(&outcomes);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &rendered).unwrap();
    }
    assert!(outcomes.len() > 1_000, "only {} cases", outcomes.len());
    let reviewed = std::fs::read_to_string(golden).unwrap();
    for (expected, got) in reviewed.lines().zip(rendered.lines()) {
        assert_eq!(expected, got);
    }
    assert_eq!(reviewed.len(), rendered.len());
}
