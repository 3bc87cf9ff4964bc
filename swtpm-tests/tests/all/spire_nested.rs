//! SPIRE's server below ours and ours below SPIRE's: `UpstreamAuthority "spire"` gets a CA and publishes JWT keys by an SVID of a
//! downstream entry.

use std::process::Command;

use plastron_swtpm_tests::{Spire, SpireServer, SpireServerOptions, TRUST_DOMAIN, run};

use crate::nested_tree::{House, Level, Tree};
use crate::spire_kit::{Pair, Theirs, eventually, own_selector, serves};

#[test]
fn spires_server_nests_below_ours_and_what_it_signs_is_good_everywhere() {
    let Some(pair) = Pair::start(Theirs::Agent, "", "") else { return };
    let spire = Spire::from_env().unwrap();
    let node = pair.node(&pair.join_token());
    let (id, nested_id) = (pair.only_agent(), format!("spiffe://{TRUST_DOMAIN}/nested"));
    let selector = own_selector();
    let mut entry = vec!["entry", "create", "-parentID", &id, "-spiffeID", &nested_id, "-selector", &selector];
    pair.cli(&entry).unwrap();
    serves(&node, &["nested"]);
    let options = || SpireServerOptions {
        trust_domain: TRUST_DOMAIN.to_owned(),
        server_lines: String::new(),
        plugin_lines: format!(
            "UpstreamAuthority \"spire\" {{ plugin_data {{ server_address = \"127.0.0.1\" server_port = \"{}\" \
             workload_api_socket = \"{}\" }} }}",
            pair.port(),
            node.socket().display()
        ),
    };
    assert!(SpireServer::start(&spire, options()).is_err(), "an SVID that is no downstream server's gets no CA");

    entry.splice(1..2, ["update"]);
    let shown = pair.json(&["entry", "show", "-spiffeID", &nested_id]);
    let entry_id = shown["entries"][0]["id"].as_str().unwrap();
    entry.extend(["-entryID", entry_id, "-downstream"]);
    pair.cli(&entry).unwrap();
    let nested = SpireServer::start(&spire, options()).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let workload = format!("spiffe://{TRUST_DOMAIN}/below");
    nested.cli(&["x509", "mint", "-spiffeID", &workload, "-write", directory.path().to_str().unwrap()]).unwrap();
    std::fs::write(file("root.pem"), pair.text(&["bundle", "show"])).unwrap();
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-CAfile"]).arg(file("root.pem")).arg("-untrusted").arg(file("svid.pem"));
    run(verify.arg(file("svid.pem"))).unwrap();

    // A workload at the agent of the server above takes a token of the server below.
    let minted = nested.cli(&["jwt", "mint", "-spiffeID", &workload, "-audience", "db"]).unwrap().stdout;
    let token = String::from_utf8(minted).unwrap().trim().to_owned();
    let validate = ["api", "validate", "jwt", "-audience", "db", "-svid", &token];
    eventually("the published key at the agent", || node.cli(&validate).ok());
}

/// Workloads of all levels meet while the root's authorities are replaced, tainted and revoked.
fn moves_on(houses: &[House]) {
    let tree = Tree::grow(houses);
    eventually("everyone to know everyone", || tree.meet().ok());
    let lengths: Vec<_> = tree.levels.iter().map(Level::chain_len).collect();
    assert_eq!(lengths, (1..=houses.len()).collect::<Vec<_>>(), "a CA more at each level");
    tree.move_root("x509");
    tree.move_root("jwt");
    eventually("everyone to know everyone still", || tree.meet().ok());
}

#[test]
fn our_server_nests_below_spires() {
    let Some(spire) = Spire::from_env() else { return };
    moves_on(&[House::Theirs(spire), House::Ours]);
}

#[test]
fn our_server_nests_below_spires_below_ours() {
    let Some(spire) = Spire::from_env() else { return };
    moves_on(&[House::Ours, House::Theirs(spire), House::Ours]);
}

#[test]
fn spires_server_nests_below_ours_below_spires() {
    let Some(spire) = Spire::from_env() else { return };
    moves_on(&[House::Theirs(spire.clone()), House::Ours, House::Theirs(spire)]);
}
