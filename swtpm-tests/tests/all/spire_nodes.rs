//! SPIRE's agent at our server, and our agent at SPIRE's: admission, renewal, restarts, eviction, ban, many entries.

use plastron_swtpm_tests::{Attestor, TRUST_DOMAIN};

use crate::spire_kit::{PATIENCE, Pair, Theirs, eventually, own_selector, serves};
use crate::x509pop::pki;

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn joins_renews_and_outlives_restarts(theirs: Theirs) {
    // The server's own SVID lives as long as a CA lets it; the agent's is renewed after 10 s.
    let lines = "agent_ttl = \"20s\"\n default_x509_svid_ttl = \"20s\"\n default_jwt_svid_ttl = \"20s\"";
    let Some(mut pair) = Pair::start(theirs, lines, "") else { return };
    let mut node = pair.node(&pair.join_token());
    let id = pair.only_agent();
    assert!(id.contains("/spire/agent/join_token/"), "{id}");
    pair.register(&id, "web");
    serves(&node, &["web"]);
    let first = node.certificate().unwrap();
    let token = node.token("db").unwrap();
    node.cli(&["api", "validate", "jwt", "-audience", "db", "-svid", &token]).unwrap();
    assert!(node.cli(&["api", "validate", "jwt", "-audience", "other", "-svid", &token]).is_err());

    let (after, _) = node.process().wait_for_line_after(0, "Successfully rotated agent SVID", PATIENCE).unwrap();
    node.process().wait_for_line_after(after, "Successfully rotated agent SVID", PATIENCE).unwrap();
    eventually("another SVID", || node.certificate().filter(|now| *now != first));

    pair.restart();
    pair.register(&id, "after-the-servers-restart");
    serves(&node, &["web", "after-the-servers-restart"]);
    // The token is used up: the agent goes on with the SVID that it has on disk.
    node.restart();
    serves(&node, &["web", "after-the-servers-restart"]);
    assert!(!node.process().log().contains("Node attestation was successful"), "{}", node.process().log());
}

#[test]
fn spires_agent_joins_renews_and_outlives_restarts() {
    joins_renews_and_outlives_restarts(Theirs::Agent);
}

#[test]
fn our_agent_joins_renews_and_outlives_restarts_at_spires_server() {
    joins_renews_and_outlives_restarts(Theirs::Server);
}

/// A certificate attests again: at half the life of the SVID, and after an eviction. After a ban it doesn't.
fn attests_again_after_an_eviction_and_never_after_a_ban(theirs: Theirs) {
    let pki = pki(&KEY);
    let ca = pki.path().join("ca.pem");
    let plugin = format!("NodeAttestor \"x509pop\" {{ plugin_data {{ ca_bundle_path = \"{}\" }} }}", ca.display());
    let Some(pair) = Pair::start(theirs, "agent_ttl = \"30s\"", &plugin) else { return };
    let mut node = pair.node(&Attestor::Certificate(pki.path()));
    let id = pair.only_agent();
    let listed = pair.json(&["agent", "show", "-spiffeID", &id]);
    assert_eq!(listed["can_reattest"], true, "{listed}");
    pair.register(&id, "web");
    serves(&node, &["web"]);
    node.process().wait_for_line("Successfully reattested node", PATIENCE).unwrap();

    pair.cli(&["agent", "evict", "-spiffeID", &id]).unwrap();
    assert!(pair.cli(&["agent", "show", "-spiffeID", &id]).is_err(), "an evicted agent is not known");
    eventually("the agent is there again", || pair.cli(&["agent", "show", "-spiffeID", &id]).ok());
    assert!(node.process().is_running());
    serves(&node, &["web"]);

    pair.cli(&["agent", "ban", "-spiffeID", &id]).unwrap();
    assert!(pair.text(&["agent", "show", "-spiffeID", &id]).contains("Banned            : true"));
    node.process().wait_for_line("Agent is banned: removing SVID and shutting down", PATIENCE).unwrap();
    node.process().wait(PATIENCE).unwrap();
}

#[test]
fn spires_agent_attests_again_after_an_eviction_and_never_after_a_ban() {
    attests_again_after_an_eviction_and_never_after_a_ban(Theirs::Agent);
}

#[test]
fn our_agent_attests_again_after_an_eviction_and_never_after_a_ban_at_spires_server() {
    attests_again_after_an_eviction_and_never_after_a_ban(Theirs::Server);
}

/// A server that lost its disk is a new root of trust. With `rebootstrap_mode` the agent takes it from where it took the first, once the
/// delay is over; SPIRE's ends for that, and whoever runs it starts it again.
fn follows_a_server_that_lost_its_ca(theirs: Theirs, mode: &str) {
    let pki = pki(&KEY);
    let ca = pki.path().join("ca.pem");
    let plugin = format!("NodeAttestor \"x509pop\" {{ plugin_data {{ ca_bundle_path = \"{}\" }} }}", ca.display());
    let Some(mut pair) = Pair::start(theirs, "", &plugin) else { return };
    let lines = format!("rebootstrap_mode = \"{mode}\"\n rebootstrap_delay = \"3s\"");
    let mut node = pair.node_with(&Attestor::Certificate(pki.path()), &lines);
    let id = pair.only_agent();
    pair.register(&id, "before");
    serves(&node, &["before"]);
    pair.lose_data();
    node.process().wait_for_line("Trust Bundle and Server don't agree, ignoring for now", PATIENCE).unwrap();
    node.process().wait_for_line("Trust Bundle and Server don't agree, rebootstrapping", PATIENCE).unwrap();
    eventually("the node at its new server", || {
        node.keep_up();
        pair.cli(&["agent", "show", "-spiffeID", &id]).ok()
    });
    pair.register(&id, "after");
    serves(&node, &["after"]);
}

#[test]
fn spires_agent_follows_a_server_that_lost_its_ca() {
    follows_a_server_that_lost_its_ca(Theirs::Agent, "always");
}

#[test]
fn our_agent_follows_a_server_of_spires_that_lost_its_ca() {
    follows_a_server_that_lost_its_ca(Theirs::Server, "auto");
    follows_a_server_that_lost_its_ca(Theirs::Server, "always");
}

/// A join token admits once: who is evicted has nothing to attest with, and ends.
fn ends_once_evicted(theirs: Theirs) {
    let Some(pair) = Pair::start(theirs, "", "") else { return };
    let mut node = pair.node(&pair.join_token());
    let id = pair.only_agent();
    pair.cli(&["agent", "evict", "-spiffeID", &id]).unwrap();
    node.process().wait_for_line("removing SVID and shutting down", PATIENCE).unwrap();
    node.process().wait(PATIENCE).unwrap();
}

#[test]
fn spires_agent_ends_once_it_is_evicted() {
    ends_once_evicted(Theirs::Agent);
}

#[test]
fn our_agent_ends_once_spires_server_evicted_it() {
    ends_once_evicted(Theirs::Server);
}

/// More than the 500 entries of a page: they are listed by revision and asked for in parts.
fn follows_many_entries(theirs: Theirs) {
    let Some(pair) = Pair::start(theirs, "", "") else { return };
    let mut node = pair.node(&pair.join_token());
    let parent = pair.only_agent();
    let entry = |number: usize, selector: &str, ttl: u32| {
        let selector = selector.split_once(':').unwrap();
        serde_json::json!({
            "parent_id": parent, "spiffe_id": format!("spiffe://{TRUST_DOMAIN}/many/{number}"), "x509_svid_ttl": ttl,
            "selectors": [{ "type": selector.0, "value": selector.1 }],
        })
    };
    let nobodys = "unix:uid:4242424242";
    let entries: Vec<_> = (0..1100).map(|number| entry(number, nobodys, 0)).collect();
    pair.feed(&["entry", "create", "-data", "-"], &serde_json::json!({ "entries": entries }).to_string());
    assert_eq!(pair.text(&["entry", "count"]).trim(), "1100 registration entries");
    eventually("1100 entries", || {
        (node.process().log().lines().filter(|line| line.contains("Entry created")).count() == 1100).then_some(())
    });
    // One that is new, one that changes, one that goes: each is found among the others.
    let mine = pair.register(&parent, "mine");
    serves(&node, &["mine"]);
    let own = own_selector();
    pair.cli(&[
        "entry",
        "update",
        "-entryID",
        &mine,
        "-parentID",
        &parent,
        "-selector",
        &own,
        "-spiffeID",
        &format!("spiffe://{TRUST_DOMAIN}/renamed"),
    ])
    .unwrap();
    serves(&node, &["renamed"]);
    pair.cli(&["entry", "delete", "-entryID", &mine]).unwrap();
    eventually("no SVID", || node.ids().is_empty().then_some(()));
}

#[test]
fn spires_agent_follows_many_entries() {
    follows_many_entries(Theirs::Agent);
}

#[test]
fn our_agent_follows_many_entries_of_spires_server() {
    follows_many_entries(Theirs::Server);
}
