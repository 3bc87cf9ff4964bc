//! What the state knows after each change.

use super::*;
use crate::store::NodeSvid;
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{Selector, TrustDomain};

fn id(path: &str) -> SpiffeId {
    TrustDomain::parse("example.org").unwrap().with_path(path).unwrap()
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    let mut selectors: Vec<_> = texts.iter().map(|text| Selector::parse(text).unwrap()).collect();
    selectors.sort();
    selectors
}

fn entry(name: &str, spiffe_id: &str, parent: &str, wanted: &[&str]) -> RegistrationEntry {
    RegistrationEntry {
        id: name.to_owned(),
        spiffe_id: id(spiffe_id),
        parent_id: id(parent),
        selectors: selectors(wanted),
        x509_svid_ttl: 0,
        jwt_svid_ttl: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: 0,
        dns_names: Vec::new(),
        revision_number: 0,
        store_svid: false,
        hint: String::new(),
        created_at: 0,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    }
}

fn node(path: &str, found: &[&str]) -> Node {
    let serial = SerialNumber::from_random([7; 16]);
    Node {
        id: id(path),
        attestation_type: "tpm".to_owned(),
        standing: Standing::Active { current: NodeSvid { serial, not_after: 9 }, pending: None },
        can_reattest: true,
        selectors: selectors(found),
        agent_version: String::new(),
        tpm: None,
    }
}

fn state(entries: Vec<RegistrationEntry>, nodes: Vec<Node>) -> State {
    State::new(Snapshot { entries, nodes, ..Snapshot::default() })
}

fn authorized(state: &State, agent: &str) -> Vec<String> {
    state.authorized_entries(&id(agent), 100).iter().map(|entry| entry.id.clone()).collect()
}

#[test]
fn entries_hang_below_agents_aliases_and_one_another() {
    let state = state(
        vec![
            entry("direct", "/direct", "/spire/agent/a", &["unix:uid:1"]),
            entry("nested", "/nested", "/direct", &["unix:uid:2"]),
            entry("alias", "/racks", "/spire/server", &["tpm:secure_boot:true", "tpm:ek:1"]),
            entry("rack", "/rack", "/racks", &["unix:uid:3"]),
            entry("below-rack", "/below-rack", "/rack", &["unix:uid:4"]),
            entry("other-alias", "/others", "/spire/server", &["tpm:ek:1", "tpm:ek:2"]),
            entry("other", "/other", "/others", &["unix:uid:5"]),
            entry("stranger", "/stranger", "/spire/agent/b", &["unix:uid:6"]),
        ],
        vec![
            node("/spire/agent/a", &["tpm:ek:1", "tpm:secure_boot:true", "tpm:x:1"]),
            node("/spire/agent/b", &["tpm:ek:2"]),
        ],
    );
    assert_eq!(authorized(&state, "/spire/agent/a"), ["below-rack", "direct", "nested", "rack"]);
    assert_eq!(authorized(&state, "/spire/agent/b"), ["stranger"]);
    assert!(authorized(&state, "/spire/agent/unknown").is_empty());
    assert!(authorized(&state, "/spire/server").is_empty(), "alias entries are no one's");
    let found = state.find_authorized_entries(&id("/spire/agent/a"), ["nested", "stranger", "alias", "?"], 100);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["nested"]);
}

#[test]
fn a_cycle_ends() {
    let state = state(
        vec![
            entry("1", "/x", "/spire/agent/a", &["u:1"]),
            entry("2", "/y", "/x", &["u:1"]),
            entry("3", "/x", "/y", &["u:2"]),
            entry("4", "/x", "/x", &["u:3"]),
        ],
        vec![],
    );
    assert_eq!(authorized(&state, "/spire/agent/a"), ["1", "2", "3", "4"]);
}

#[test]
fn an_expired_entry_gives_nothing() {
    let mut late = entry("late", "/late", "/spire/agent/a", &["u:1"]);
    late.expires_at = 100;
    let mut admin = entry("admin", "/admin", "/spire/agent/a", &["u:1"]);
    (admin.admin, admin.expires_at) = (true, 101);
    let state = state(vec![late, entry("below", "/below", "/late", &["u:1"]), admin], vec![]);
    assert_eq!(authorized(&state, "/spire/agent/a"), ["admin"]);
    assert!(state.is_admin(&id("/admin"), 100));
    assert!(!state.is_admin(&id("/admin"), 101));
}

#[test]
fn changes_move_entries_between_indexes() {
    let state = state(vec![entry("e", "/e", "/spire/agent/a", &["u:1"])], vec![node("/spire/agent/a", &["n:1"])]);
    let mut moved = entry("e", "/e", "/spire/server", &["n:1"]);
    moved.admin = true;
    let child = entry("child", "/child", "/e", &["u:1"]);
    state.apply(&[
        Change { sequence: 1, event: Event::Entry(Arc::new(moved)) },
        Change { sequence: 2, event: Event::Entry(Arc::new(child)) },
    ]);
    assert_eq!(authorized(&state, "/spire/agent/a"), ["child"], "now by way of the alias");
    assert!(state.is_admin(&id("/e"), 0));
    state.apply(&[
        Change { sequence: 2, event: Event::EntryDeleted { id: "child".to_owned() } },
        Change { sequence: 3, event: Event::EntryDeleted { id: "e".to_owned() } },
    ]);
    assert!(authorized(&state, "/spire/agent/a").is_empty());
    assert!(!state.is_admin(&id("/e"), 0));
    assert!(state.entry("child").is_some(), "a change that the state already has is passed over");
    assert_eq!(state.revision(), 3);
}

#[test]
fn subsets_of_sorted_sets() {
    use crate::index::is_sorted_subset;
    for part in 0_u32..32 {
        for whole in 0_u32..32 {
            let set = |bits: u32| (0..5).filter(|bit| bits & 1 << bit != 0).collect::<Vec<_>>();
            assert_eq!(is_sorted_subset(&set(part), &set(whole)), part & !whole == 0, "{part:b} in {whole:b}");
        }
    }
}
