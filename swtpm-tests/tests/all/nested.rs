//! Our server below ours: `UpstreamAuthority "spire"`.

use plastron_swtpm_tests::TRUST_DOMAIN;
use tokio::runtime::Runtime;

use crate::nested_tree::{House, Level, Server, Tree};
use crate::spire_kit::{PATIENCE, eventually};

#[test]
fn a_server_that_is_no_downstream_one_is_told_what_to_do() {
    let runtime = Runtime::new().unwrap();
    let root = Level::of(&runtime, Server::root(&House::Ours), 0);
    let refused = |what: &str| {
        let Err(error) = root.server.below(&House::Ours, &root.agent.socket()) else { panic!("it started: {what}") };
        error.to_string()
    };
    let error = refused("no SVID");
    assert!(error.contains("gave this server no SVID") && error.contains("make an entry with -downstream"), "{error}");
    root.register_below(&House::Ours, &[]);
    let error = refused("no downstream entry");
    let named = format!("refuses NewDownstreamX509CA to spiffe://{TRUST_DOMAIN}/nested");
    assert!(error.contains(&named) && error.contains("its entry there needs -downstream"), "{error}");
}

#[test]
fn authorities_of_the_root_move_on_under_three_levels_of_ours() {
    let tree = Tree::grow(&[House::Ours, House::Ours, House::Ours]);
    eventually("everyone to know everyone", || tree.meet().ok());
    let lengths: Vec<_> = tree.levels.iter().map(Level::chain_len).collect();
    assert_eq!(lengths, [1, 2, 3], "a CA more at each level");
    let x509 = |level: &Level| level.server.bundle().0;
    assert!(tree.levels.iter().all(|level| x509(level) == x509(tree.levels.first().unwrap())), "one root for all");
    tree.move_root("x509");
    tree.move_root("jwt");
    tree.move_root("x509");
}

/// A JWT key of a server at the bottom is at the root before it signs.
#[test]
fn a_key_at_the_bottom_is_published_at_the_root_first() {
    let tree = Tree::grow(&[House::Ours, House::Ours, House::Ours]);
    let [root, middle, leaf] = tree.levels.as_slice() else { panic!("three levels") };
    for level in &tree.levels {
        let key = level.server.authority("jwt", "active");
        assert!(root.server.bundle().1.contains(&key), "{key} signs");
    }
    leaf.server.cli(&["localauthority", "jwt", "prepare"]).unwrap();
    let next = leaf.server.authority("jwt", "prepared");
    for level in [root, middle] {
        assert!(level.server.bundle().1.contains(&next), "prepared means published above");
    }
    // What the root takes away is replaced at the bottom, and all the while nobody else is in the way.
    let active = leaf.server.authority("jwt", "active");
    root.server.cli(&["localauthority", "jwt", "taint", "-authorityID", &active]).unwrap();
    eventually("another key at the bottom", || (leaf.server.authority("jwt", "active") != active).then_some(()));
    root.server.cli(&["localauthority", "jwt", "revoke", "-authorityID", &active]).unwrap();
    eventually("the revocation at the bottom", || (!leaf.server.bundle().1.contains(&active)).then_some(()));
    eventually("everyone to know everyone", || tree.meet().ok());
}

#[test]
fn a_server_signs_on_while_its_upstream_is_away() {
    let mut tree = Tree::grow(&[House::Ours, House::Ours]);
    eventually("everyone to know everyone", || tree.meet().ok());
    let before = tree.levels[1].server.authority("x509", "active");
    tree.levels[0].server.stop();
    let below = &mut tree.levels[1].server;
    below.process().wait_for_line("The bundle above can't be fetched", PATIENCE).unwrap();
    assert!(below.cli(&["localauthority", "x509", "prepare"]).is_err(), "nobody certifies it");
    assert!(below.cli(&["localauthority", "jwt", "prepare"]).is_err(), "nobody publishes it");
    below.cli(&["healthcheck"]).unwrap();
    below.cli(&["x509", "mint", "-spiffeID", &format!("spiffe://{TRUST_DOMAIN}/minted")]).unwrap();
    assert_eq!(below.authority("x509", "active"), before);
    tree.meet().unwrap();
    // A server whose CA is good starts without its upstream.
    let below = &mut tree.levels[1].server;
    below.stop();
    below.start_again();
    assert_eq!(below.authority("x509", "active"), before);
    tree.levels[0].server.start_again();
    eventually("the upstream again", || tree.levels[1].server.cli(&["localauthority", "x509", "prepare"]).ok());
    eventually("everyone to know everyone", || tree.meet().ok());
}
