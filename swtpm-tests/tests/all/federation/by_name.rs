//! `https_web` with certificate files, and a relationship of the API.

use std::fs;

use super::domain::{Domain, free_port};
use crate::workloads::testbed::{eventually, openssl};

const ONE: &str = "one.example";
const TWO: &str = "two.example";

/// A CA of the web and a certificate of it for localhost, as `<name>.ca.pem`, `<name>.pem` and `<name>.key`.
pub(crate) fn make_certificate(directory: &std::path::Path, name: &str) {
    let at = |file: &str| directory.join(format!("{name}{file}")).to_str().unwrap().to_owned();
    let ca = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let subject = format!("/CN={name}");
    let own = ["-subj", &subject, "-keyout", &at(".ca.key"), "-out", &at(".ca.pem")];
    openssl(new.iter().chain(&own).chain(&ca));
    let by = ["-CA", &at(".ca.pem"), "-CAkey", &at(".ca.key"), "-subj", "/CN=localhost"];
    let names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
    let out = ["-keyout", &at(".key"), "-out", &at(".pem")];
    openssl(new.iter().chain(&by).chain(&names).chain(&out));
}

#[test]
fn a_bundle_comes_by_name_follows_new_certificates_and_never_goes_back() {
    let web = tempfile::tempdir().unwrap();
    let file = |name: &str| web.path().join(name).to_str().unwrap().to_owned();
    for name in ["old", "new"] {
        make_certificate(web.path(), name);
    }
    let put = |from: &str, to: &str| {
        fs::rename(fs::copy(file(from), file("next")).map(|_| file("next")).unwrap(), file(to)).unwrap()
    };
    for (from, to) in [("old.pem", "served.pem"), ("old.key", "served.key"), ("old.ca.pem", "roots.pem")] {
        put(from, to);
    }
    let port = free_port();
    let endpoint = format!(
        "bundle_endpoint {{\n address = \"127.0.0.1\"\n port = {port}\n profile \"https_web\" {{\n serving_cert_file {{
         cert_file_path = \"{}\"\n key_file_path = \"{}\"\n file_sync_interval = \"1s\"\n }}\n }}\n }}",
        file("served.pem"),
        file("served.key")
    );
    let mut two = Domain::start(TWO, &endpoint, &[]);
    let one = Domain::start(ONE, "", &[("SSL_CERT_FILE", &file("roots.pem"))]);

    // Nothing but a URL is needed: the web says who it is.
    let create = |url: &str| {
        let id = format!("spiffe://{TWO}");
        let verb = if one.json(&["federation", "list"])["federation_relationships"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
        {
            "update"
        } else {
            "create"
        };
        one.cli(&[
            "federation",
            verb,
            "-trustDomain",
            &id,
            "-bundleEndpointURL",
            url,
            "-bundleEndpointProfile",
            "https_web",
        ]);
    };
    create(&format!("https://127.0.0.1:{port}/"));
    let said = one.refresh(TWO).unwrap_err();
    assert!(said.contains("not valid for name"), "{said}");
    assert_eq!(one.kept(TWO), None);
    create(&format!("https://localhost:{port}/"));
    let first = one.until_kept(TWO, "the bundle of two at one", |kept| kept.authorities == 1);
    assert_eq!((first.hint, first.sequence), (300, two.sequence()));

    // Two gets a certificate of another authority; one's operator installs that authority, and nobody restarts anything.
    put("new.pem", "served.pem");
    put("new.key", "served.key");
    let said = eventually("the new certificate to be served", || one.refresh(TWO).err());
    assert!(said.contains("UnknownIssuer"), "{said}");
    assert_eq!(one.kept(TWO), Some(first));
    put("new.ca.pem", "roots.pem");
    eventually("the new authority to be believed", || one.refresh(TWO).ok());

    // Two loses its latest state: its backup has a bundle that one has seen replaced.
    two.server.terminate().unwrap();
    let backup = two.path("backup.sqlite3");
    fs::copy(two.server.database(), &backup).unwrap();
    two.server.start_again().unwrap();
    two.cli(&["localauthority", "x509", "prepare"]);
    one.refresh(TWO).unwrap();
    let latest = one.kept(TWO).unwrap();
    assert!(latest.authorities == 2 && latest.sequence > first.sequence, "{latest:?}");
    two.server.terminate().unwrap();
    fs::copy(&backup, two.server.database()).unwrap();
    for journal in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{journal}", two.server.database().display()));
    }
    two.server.start_again().unwrap();
    let said = one.refresh(TWO).unwrap_err();
    assert!(said.contains("goes back"), "{said}");
    assert_eq!(one.kept(TWO), Some(latest));
    // An operator who knows better says so.
    one.bootstrap(&two);
    one.refresh(TWO).unwrap();
    assert_eq!(one.kept(TWO).unwrap().authorities, 1);

    // Without the relationship nothing is fetched; the bundle stays until it is deleted.
    one.cli(&["federation", "delete", "-id", &format!("spiffe://{TWO}")]);
    assert!(one.refresh(TWO).is_err());
    assert_eq!(one.kept(TWO).unwrap().authorities, 1);
}
