//! Our server and SPIRE's federate, both ways, by `https_spiffe`: each keeps the other's bundle fresh, and a workload of each verifies the
//! other's SVIDs and tokens.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use plastron_swtpm_tests::{TRUST_DOMAIN, run, tool};

use crate::spire_kit::{Node, Pair, Theirs, eventually};

const THEIR_DOMAIN: &str = "spire.example";

/// Two ports that nobody has, one for each bundle endpoint.
fn ports() -> (u16, u16) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (one, two) = (listen(), listen());
    (one.local_addr().unwrap().port(), two.local_addr().unwrap().port())
}

fn federation(own_port: u16, other: &str, other_port: u16) -> String {
    format!(
        "federation {{
          bundle_endpoint {{ address = \"127.0.0.1\" port = {own_port} profile \"https_spiffe\" {{}} }}
          federates_with \"{other}\" {{
            bundle_endpoint_url = \"https://127.0.0.1:{other_port}\"
            bundle_endpoint_profile \"https_spiffe\" {{ endpoint_spiffe_id = \"spiffe://{other}/spire/server\" }}
          }}
        }}"
    )
}

/// What a workload of this node gets, in files: `svid.0.pem`, `bundle.0.pem`, `federated_bundle.0.0.pem`.
fn write(node: &Node, directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    node.cli(&["api", "fetch", "x509", "-write", directory.to_str().unwrap()]).unwrap();
}

/// Whether the workload with these files verifies the SVID of the one with those.
fn verifies(own: &Path, other: &Path) -> bool {
    let mut command = std::process::Command::new(tool("openssl").unwrap());
    command.arg("verify").arg("-CAfile").arg(own.join("federated_bundle.0.0.pem"));
    run(command.arg("-untrusted").arg(other.join("svid.0.pem")).arg(other.join("svid.0.pem"))).is_ok()
}

#[test]
fn our_server_and_spires_federate_both_ways() {
    let (our_port, their_port) = ports();
    let lines = federation(our_port, THEIR_DOMAIN, their_port);
    // SPIRE's agent at our server, our agent at SPIRE's.
    let Some(ours) = Pair::start(Theirs::Agent, &lines, "") else { return };
    let lines = federation(their_port, TRUST_DOMAIN, our_port);
    let Some(theirs) = Pair::start_in(THEIR_DOMAIN, Theirs::Server, &lines, "") else { return };
    // An endpoint that proves itself by its SPIFFE ID has to be known before: once, by hand.
    let exchange = |from: &Pair, domain: &str, to: &Pair| {
        let bundle = from.text(&["bundle", "show", "-format", "spiffe"]);
        to.feed(&["bundle", "set", "-id", &format!("spiffe://{domain}"), "-format", "spiffe"], &bundle);
    };
    exchange(&ours, TRUST_DOMAIN, &theirs);
    exchange(&theirs, THEIR_DOMAIN, &ours);
    assert!(ours.text(&["bundle", "list"]).contains(THEIR_DOMAIN));

    let node = |pair: &Pair, other: &str| {
        let node = pair.node(&pair.join_token());
        pair.register_with(&pair.only_agent(), "web", &["-federatesWith", &format!("spiffe://{other}")]);
        eventually("an SVID", || node.certificate());
        node
    };
    let (our_node, their_node) = (node(&ours, THEIR_DOMAIN), node(&theirs, TRUST_DOMAIN));
    let directory = tempfile::tempdir().unwrap();
    let (our_files, their_files) = (directory.path().join("ours"), directory.path().join("theirs"));
    let both = || {
        write(&our_node, &our_files);
        write(&their_node, &their_files);
        (verifies(&our_files, &their_files) && verifies(&their_files, &our_files)).then_some(())
    };
    eventually("workloads of both verify each other", both);
    // Foreign tokens are validated by the foreign bundle.
    for (from, by, domain) in [(&our_node, &their_node, TRUST_DOMAIN), (&their_node, &our_node, THEIR_DOMAIN)] {
        let token = from.token("db").unwrap();
        let valid = by.cli(&["api", "validate", "jwt", "-audience", "db", "-svid", &token]).unwrap();
        let said = String::from_utf8_lossy(&valid.stdout).into_owned();
        assert!(said.contains(&format!("spiffe://{domain}/web")), "{said}");
    }

    // The endpoints have answered once before anything changes, or an answer that is kept for too long would not be noticed.
    let refreshed = |pair: &Pair, domain: &str, count: usize| {
        pair.cli(&["federation", "refresh", "-id", domain]).unwrap();
        let listed = pair.json(&["bundle", "list"]);
        assert_eq!(listed["bundles"][0]["x509_authorities"].as_array().unwrap().len(), count, "{listed}");
    };
    refreshed(&ours, THEIR_DOMAIN, 1);
    refreshed(&theirs, TRUST_DOMAIN, 1);

    // Each gets a new CA; the other learns it from the endpoint, which goes on proving itself.
    for pair in [&ours, &theirs] {
        let prepared = pair.json(&["localauthority", "x509", "prepare"]);
        let id = prepared["prepared_authority"]["authority_id"].as_str().unwrap().to_owned();
        eventually("activation", || pair.cli(&["localauthority", "x509", "activate", "-authorityID", &id]).ok());
    }
    refreshed(&ours, THEIR_DOMAIN, 2);
    refreshed(&theirs, TRUST_DOMAIN, 2);
    let two_roots = |files: &Path| {
        let pem = std::fs::read_to_string(files.join("federated_bundle.0.0.pem")).unwrap();
        pem.matches("BEGIN CERTIFICATE").count() == 2
    };
    eventually("workloads have the new roots", || both().filter(|()| two_roots(&our_files) && two_roots(&their_files)));
}
