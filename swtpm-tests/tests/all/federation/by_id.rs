//! `https_spiffe`, both ways, by configuration.

use std::process::Command;

use super::domain::{Domain, Workload, free_port};
use crate::workloads::testbed::{eventually, openssl};

const ONE: &str = "one.example";
const TWO: &str = "two.example";

/// Each shows its bundle at one port and fetches that of the other.
fn pair() -> (Domain, Domain) {
    let (port_one, port_two) = (free_port(), free_port());
    let federation = |own: u16, other: u16, domain: &str| {
        format!(
            "bundle_endpoint {{\n address = \"127.0.0.1\"\n port = {own}\n profile \"https_spiffe\" {{}}\n }}
             federates_with \"{domain}\" {{\n bundle_endpoint_url = \"https://localhost:{other}\"
             bundle_endpoint_profile \"https_spiffe\" {{ endpoint_spiffe_id = \"spiffe://{domain}/spire/server\" }}\n }}"
        )
    };
    let one = Domain::start(ONE, &federation(port_one, port_two, TWO), &[]);
    let two = Domain::start(TWO, &federation(port_two, port_one, ONE), &[]);
    (one, two)
}

fn authority(domain: &Domain, arguments: &[&str], name: &str) -> String {
    let json = domain.json(&[&["localauthority", "x509"], arguments].concat());
    json[name]["authority_id"].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned()
}

fn verifies(authorities: &str, workload: &Workload) -> bool {
    let svid = workload.file("svid.0.pem");
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-CAfile", authorities, "-untrusted", &svid, &svid]);
    verify.output().unwrap().status.success()
}

#[test]
fn workloads_of_two_trust_domains_verify_each_other_through_rotation_and_restarts() {
    let (mut one, mut two) = pair();
    assert!(one.refresh(TWO).unwrap_err().contains("local copy of bundle not found"));
    one.bootstrap(&two);
    two.bootstrap(&one);
    // The endpoint's hint shows that it was fetched.
    one.until_kept(TWO, "the bundle of two at one", |kept| kept.hint == 300 && kept.authorities == 1);
    two.until_kept(ONE, "the bundle of one at two", |kept| kept.hint == 300 && kept.authorities == 1);

    let (at_one, at_two) = (one.workload(&two), two.workload(&one));
    at_one.until_federated(1);
    at_two.until_federated(1);
    assert!(verifies(&at_one.file("federated_bundle.0.0.pem"), &at_two));
    assert!(verifies(&at_two.file("federated_bundle.0.0.pem"), &at_one));
    assert!(!verifies(&at_one.file("bundle.0.pem"), &at_two), "the bundles are kept apart");

    // Two prepares its next authority: it is at the workload of one before it signs anything.
    let old = authority(&two, &["show"], "active");
    let next = authority(&two, &["prepare"], "prepared_authority");
    one.refresh(TWO).unwrap();
    let both = at_one.until_federated(2);
    assert_eq!(one.kept(TWO).unwrap().sequence, two.sequence());

    // Two goes over to it and drops the old one; its endpoint shows an SVID of the new authority, which one knows by now.
    let agents_svid = || two.json(&["agent", "list"])["agents"][0]["x509svid_serial_number"].clone();
    let before = agents_svid();
    let cli = |verb: &str, id: &str| two.try_cli(&["localauthority", "x509", verb, "-authorityID", id]).ok();
    eventually("activate", || cli("activate", &next));
    eventually("taint", || cli("taint", &old));
    // Whoever revokes before the agent has another SVID cuts it off.
    eventually("the agent of two to have an SVID of the new authority", || (agents_svid() != before).then_some(()));
    eventually("revoke", || cli("revoke", &old));
    eventually("one to have the bundle of two without the old authority", || {
        one.refresh(TWO).ok()?;
        one.kept(TWO).filter(|kept| kept.authorities == 1)
    });
    let rest = at_one.until_federated(1);
    assert!(both.contains(rest.trim()), "one of the two is left");
    eventually("the SVID of a workload of two by the new authority", || {
        at_two.until_federated(1);
        verifies(&at_one.file("federated_bundle.0.0.pem"), &at_two).then_some(())
    });

    // Nobody needs the other server to go on.
    two.server.kill().unwrap();
    one.server.kill().unwrap();
    one.server.start_again().unwrap();
    assert_eq!(one.kept(TWO).unwrap().authorities, 1);
    assert!(one.refresh(TWO).unwrap_err().contains("can't reach"));
    at_one.until_federated(1);
    two.server.start_again().unwrap();
    one.refresh(TWO).unwrap();
}

#[test]
fn an_endpoint_asks_for_no_certificate_and_speaks_tls_without_cbc() {
    let port = free_port();
    let federation = format!("bundle_endpoint {{ port = {port} profile \"https_spiffe\" {{}} }}");
    let one = Domain::start(ONE, &federation, &[]);
    let roots = one.path("roots.pem");
    std::fs::write(&roots, one.cli(&["bundle", "show"])).unwrap();
    // All addresses, IPv6 among them.
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = openssl(["s_client", "-connect", &address, version, "-CAfile", &roots, "-verify_return_error"]);
            assert!(said.contains("No client certificate CA names sent"), "{said}");
            assert!(said.contains("Verify return code: 0 (ok)") && !said.contains("Requested Signature"), "{said}");
        }
    }
    let refused = |more: &[&str]| {
        let address = format!("127.0.0.1:{port}");
        let asked = Command::new("openssl").args(["s_client", "-connect", &address]).args(more).output().unwrap();
        assert!(!asked.status.success(), "{more:?}: {asked:?}");
    };
    refused(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    refused(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]);
    refused(&["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"]);
}
