//! Envoys on our SDS: they know each other by their SVIDs, through rotations of everything, without being restarted.

mod proxy;

use std::collections::BTreeSet;

use proxy::{Envoy, Trust, program};

use crate::moved_authority::{Kind, authority, move_on};
use crate::workloads::testbed::{Agent, TRUST_DOMAIN, Testbed, eventually, path_of};

const BY_DOMAIN: Trust = Trust { bundle: "ALL", without_validator: false };
const BY_ROOTS: Trust = Trust { bundle: "ROOTCA", without_validator: true };

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
    move_on(&bed, Kind::X509, || call() > 1);
    eventually("both to believe one authority alone", || {
        call();
        let believed = [pair.web.authorities(trust[0].bundle), pair.backend.authorities(trust[1].bundle)];
        (believed == [1, 1]).then_some(())
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

const OTHER: &str = "other.example";

/// A proxy of another trust domain is refused by both sides until the domains know each other's bundles, and again once one forgets.
#[test]
fn envoys_of_two_trust_domains_know_each_other_while_their_bundles_do() {
    let (ours, theirs) = (Testbed::start(""), Testbed::start_as(OTHER, ""));
    let (our_agent, their_agent) = (ours.start_agent(), theirs.start_agent());
    let (web, backend) = (program(&theirs.path(""), "web"), program(&ours.path(""), "backend"));
    let entry_of_web = theirs.entry(&theirs.only_node(), "/web", &[&path_of(&web)], &[]);
    let entry_of_backend = ours.entry(&ours.only_node(), "/backend", &[&path_of(&backend)], &[]);
    let (web_id, backend_id) = (format!("spiffe://{OTHER}/web"), format!("spiffe://{TRUST_DOMAIN}/backend"));
    let mut backend = Envoy::serving(&backend, &our_agent.socket(), BY_DOMAIN, &web_id);
    let mut web = Envoy::calling(&web, &their_agent.socket(), BY_DOMAIN, &backend, &backend_id);

    // Each has its own certificate and bundle, and neither believes the other.
    eventually("the client to refuse the server", || {
        assert!(!web.get().is_served());
        (web.stat("ssl.fail_verify_error") + web.stat("ssl.fail_verify_san") > 0).then_some(())
    });

    theirs.federate(&ours, &entry_of_web, "/web", &path_of(&theirs.path("web")));
    // The client believes the server by now, and the server does not yet believe the client.
    eventually("the server to refuse the client", || {
        assert!(!web.get().is_served());
        (backend.stat("ssl.fail_verify_error") + backend.stat("ssl.fail_verify_san") > 0).then_some(())
    });

    ours.federate(&theirs, &entry_of_backend, "/backend", &path_of(&ours.path("backend")));
    let answer = eventually("a request between the domains", || Some(web.get()).filter(|it| it.is_served()));
    assert_eq!(answer.header("x-client"), Some(web_id));
    assert_eq!(answer.header("x-server"), Some(backend_id));

    // Their authority changes, and ours learns of it before it signs.
    theirs.server_cli(&["localauthority", "x509", "prepare"]);
    let prepared = authority(&theirs, Kind::X509, "prepared");
    let received = backend.stat("sds.ALL.update_success");
    ours.learn_bundle_of(&theirs);
    eventually("the new bundle to arrive", || (backend.stat("sds.ALL.update_success") > received).then_some(()));
    let old = authority(&theirs, Kind::X509, "active");
    theirs.server_cli(&["localauthority", "x509", "activate", "-authorityID", &prepared]);
    theirs.server_cli(&["localauthority", "x509", "taint", "-authorityID", &old]);
    let serial = answer.header("x-client-serial");
    eventually("an SVID of their new authority to be believed", || {
        let answer = web.get();
        (answer.is_served() && answer.header("x-client-serial") != serial).then_some(())
    });

    ours.forget_bundle_of(&theirs);
    eventually("the server to refuse the client again", || (!web.get().is_served()).then_some(()));
    assert!(web.is_running() && backend.is_running());
}
