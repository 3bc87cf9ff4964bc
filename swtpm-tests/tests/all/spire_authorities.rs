//! A CA and a JWT key are replaced, tainted and revoked under an agent of the other house: its workload's SVID and token are replaced, its
//! own SVID too, and it stays connected.

use crate::spire_kit::{PATIENCE, Pair, Theirs, eventually, serves};

/// Prepares, activates, taints and revokes one kind; returns the authority that was tainted.
fn replace(pair: &Pair, kind: &str, meanwhile: impl FnOnce()) {
    let authority = |answer: &serde_json::Value, field: &str| {
        answer[field]["authority_id"].as_str().unwrap_or_else(|| panic!("{field} in {answer}")).to_owned()
    };
    let old = authority(&pair.json(&["localauthority", kind, "show"]), "active");
    let prepared = pair.json(&["localauthority", kind, "prepare"]);
    let new = authority(&prepared, "prepared_authority");
    let command = |verb: &str, id: &str| {
        // An authority signs once every agent that is connected has it.
        eventually(verb, || pair.cli(&["localauthority", kind, verb, "-authorityID", id]).ok());
    };
    command("activate", &new);
    assert_eq!(authority(&pair.json(&["localauthority", kind, "show"]), "active"), new);
    command("taint", &old);
    meanwhile();
    command("revoke", &old);
    let bundle = pair.json(&["bundle", "show"]);
    let (list, count) = if kind == "jwt" { ("jwt_authorities", 1) } else { ("x509_authorities", 1) };
    assert_eq!(bundle[list].as_array().unwrap().len(), count, "{bundle}");
}

fn follows_a_taint(theirs: Theirs) {
    let Some(mut pair) = Pair::start(theirs, "", "") else { return };
    let mut node = pair.node(&pair.join_token());
    let id = pair.only_agent();
    pair.register(&id, "web");
    serves(&node, &["web"]);
    let certificate = node.certificate().unwrap();
    let token = node.token("db").unwrap();

    replace(&pair, "x509", || {
        node.process().wait_for_line("New tainted X.509 authorities found", PATIENCE).unwrap();
        node.process().wait_for_line("Agent SVID is tainted by a root authority, forcing rotation", PATIENCE).unwrap();
        node.process().wait_for_line("Successfully rotated agent SVID", PATIENCE).unwrap();
        eventually("another SVID", || node.certificate().filter(|now| *now != certificate));
    });
    replace(&pair, "jwt", || {
        eventually("another token", || node.token("db").filter(|now| *now != token));
    });
    // What was revoked verifies nothing any more, what is there does.
    eventually("the revocation", || node.cli(&["api", "validate", "jwt", "-audience", "db", "-svid", &token]).err());
    let token = node.token("db").unwrap();
    node.cli(&["api", "validate", "jwt", "-audience", "db", "-svid", &token]).unwrap();
    pair.restart();
    pair.register(&id, "later");
    serves(&node, &["web", "later"]);
}

#[test]
fn spires_agent_follows_a_taint() {
    follows_a_taint(Theirs::Agent);
}

#[test]
fn our_agent_follows_a_taint_at_spires_server() {
    follows_a_taint(Theirs::Server);
}
