//! Envoys on our SDS: they know each other by their SVIDs, through rotations of everything, without being restarted.

mod proxy;

use std::collections::BTreeSet;

use proxy::{Envoy, Trust, program};
use serde_json::Value;

use crate::workloads::testbed::{Agent, TRUST_DOMAIN, Testbed, eventually, path_of};

const BY_DOMAIN: Trust = Trust { bundle: "ALL", without_validator: false };
const BY_ROOTS: Trust = Trust { bundle: "ROOTCA", without_validator: true };

/// The ID of the one local authority in this state.
fn authority(bed: &Testbed, state: &str) -> String {
    let json = bed.server_cli(&["localauthority", "x509", "show", "-output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    json[state]["authority_id"].as_str().unwrap_or_else(|| panic!("no {state} authority in {json}")).to_owned()
}

/// The serial number of the only agent's own SVID.
fn serial_of_agent(bed: &Testbed) -> String {
    let json: Value = serde_json::from_str(&bed.server_cli(&["agent", "list", "-output", "json"])).unwrap();
    json["agents"][0]["x509svid_serial_number"].as_str().unwrap().to_owned()
}

struct Pair {
    web: Envoy,
    backend: Envoy,
}

impl Pair {
    /// A proxy that calls another, each the workload of an agent of its own or of the same, each with the ID it gets there.
    fn start(bed: &Testbed, agent: &Agent, trust: [Trust; 2]) -> Self {
        let node = bed.only_node();
        let (web, backend) = (program(&bed.path(""), "web"), program(&bed.path(""), "backend"));
        for (program, path) in [(&web, "/web"), (&backend, "/backend")] {
            bed.entry(&node, path, &[&path_of(program)], &[]);
        }
        let [web_trust, backend_trust] = trust;
        let id = |path: &str| format!("spiffe://{TRUST_DOMAIN}{path}");
        let backend = Envoy::serving(&backend, &agent.socket(), backend_trust, &id("/web"));
        let web = Envoy::calling(&web, &agent.socket(), web_trust, &backend, &id("/backend"));
        Self { web, backend }
    }

    /// Waits for the first request that is served; how each side is called.
    fn meet(&self) -> (String, String) {
        let answer = eventually("a request through both Envoys", || Some(self.web.get()).filter(|it| it.is_served()));
        (answer.header("x-client").unwrap(), answer.header("x-server").unwrap())
    }
}

/// Each request is a handshake. None fails while the CA's key is replaced, its SVIDs are withdrawn, and its certificate leaves the bundle.
fn outlives_its_authority(trust: [Trust; 2]) {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let mut pair = Pair::start(&bed, &agent, trust);
    let names = ["/web", "/backend"].map(|path| format!("spiffe://{TRUST_DOMAIN}{path}"));
    let (client, server) = pair.meet();
    assert_eq!([client, server], names);

    let (mut served, mut clients, mut servers) = (0_usize, BTreeSet::new(), BTreeSet::new());
    let mut call = || {
        let answer = pair.web.get();
        assert!(answer.is_served(), "{}\n{}\n{}", answer.0, pair.web.log(), pair.backend.log());
        clients.insert(answer.header("x-client-serial").unwrap());
        servers.insert(answer.header("x-server-certificate").unwrap());
        served += 1;
        clients.len().min(servers.len())
    };
    let old = authority(&bed, "active");
    bed.server_cli(&["localauthority", "x509", "prepare"]);
    let prepared = authority(&bed, "prepared");
    eventually("the prepared authority to be everywhere", || {
        call();
        bed.try_server_cli(&["localauthority", "x509", "activate", "-authorityID", &prepared]).ok()
    });
    call();
    let agents_svid = serial_of_agent(&bed);
    bed.server_cli(&["localauthority", "x509", "taint", "-authorityID", &old]);
    // An operator waits for both before the old authority goes: an agent that still needs it would be cut off.
    eventually("another SVID on both sides, and for the agent", || {
        (call() > 1 && serial_of_agent(&bed) != agents_svid).then_some(())
    });
    let before = (pair.web.stat("update_success"), pair.backend.stat("update_success"));
    bed.server_cli(&["localauthority", "x509", "revoke", "-authorityID", &old]);
    eventually("both to have the bundle without it", || {
        call();
        let after = (pair.web.stat("update_success"), pair.backend.stat("update_success"));
        (after.0 > before.0 && after.1 > before.1).then_some(())
    });
    call();
    println!("{served} requests, {} certificates of the client, {} of the server", clients.len(), servers.len());
    assert_eq!(pair.web.stat("update_rejected") + pair.backend.stat("update_rejected"), 0);
    assert!(pair.web.is_running() && pair.backend.is_running());
}

#[test]
fn two_envoys_with_the_spiffe_validator_outlive_their_authority() {
    outlives_its_authority([BY_DOMAIN, BY_DOMAIN]);
}

#[test]
fn two_envoys_with_plain_roots_outlive_their_authority() {
    outlives_its_authority([BY_ROOTS, BY_ROOTS]);
}
