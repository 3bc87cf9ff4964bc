//! The configurations that this repository shows are ones that the programs take, without a warning.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plastron_swtpm_tests::{Manufacturer, program, run, tool};

/// A copy of `conf/`, with the certificates, pins and revocation list that the server's example names.
fn configurations() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("conf");
    for name in ["server/server.conf", "agent/agent.conf"] {
        let target = folder.path().join("conf").join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(source.join(name), target).unwrap();
    }
    let manufacturer = Manufacturer::shared().unwrap();
    let server = folder.path().join("conf/server");
    fs::copy(manufacturer.root_pem_file(), server.join("tpm-roots.pem")).unwrap();
    fs::copy(manufacturer.intermediate_pem_file(), server.join("tpm-intermediates.pem")).unwrap();
    add_revocation_list(&server);
    let pin = format!(
        "fingerprint,added_by,added_at,reason,obtained\n{},j.doe,2026-01-31T12:00:00Z,rack 7,console\n",
        "7".repeat(64)
    );
    fs::write(server.join("pins.csv"), pin).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// An empty list of a second root, since swtpm's own CA may not sign any.
fn add_revocation_list(server: &Path) {
    let openssl = |arguments: &[&str]| {
        run(Command::new(tool("openssl").unwrap()).args(arguments).current_dir(server)).unwrap();
    };
    let setup = "[ca]\ndefault_ca = list\n[list]\ndatabase = index\ndefault_md = sha256\ndefault_crl_days = 7\n";
    fs::write(server.join("ca.conf"), setup).unwrap();
    fs::write(server.join("index"), "").unwrap();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=TPM manufacturer",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ]);
    openssl(&["ca", "-gencrl", "-config", "ca.conf", "-keyfile", "ca.key", "-cert", "ca.pem", "-out", "tpm-ca.crl"]);
    let mut roots = fs::read_to_string(server.join("tpm-roots.pem")).unwrap();
    roots.push_str(&fs::read_to_string(server.join("ca.pem")).unwrap());
    fs::write(server.join("tpm-roots.pem"), roots).unwrap();
}

#[test]
fn every_example_is_valid() {
    let (_folder, path) = configurations();
    for (name, told) in [
        ("plastron-server", "SPIRE server configuration file is valid.\n"),
        ("plastron-agent", "SPIRE agent configuration file is valid.\n"),
    ] {
        // The default path is the example's: a checkout runs without a flag.
        let output =
            Command::new(program(name).unwrap()).args(["validate", "-strict"]).current_dir(&path).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((out.as_ref(), err.as_ref()), (told, ""), "{name}");
        assert!(output.status.success(), "{name}");
    }
}

#[test]
fn a_misspelt_key_is_refused_with_its_place() {
    let (_folder, path) = configurations();
    for (name, file, section) in
        [("plastron-server", "conf/server/server.conf", "server"), ("plastron-agent", "conf/agent/agent.conf", "agent")]
    {
        let text = fs::read_to_string(path.join(file)).unwrap().replace("  trust_domain =", "  trust_domian =");
        let line = text.lines().position(|line| line.contains("trust_domian")).unwrap() + 1;
        fs::write(path.join(file), text).unwrap();
        let output = Command::new(program(name).unwrap()).arg("validate").current_dir(&path).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(&format!("{file}:{line}:3: unknown key {section}.trust_domian")), "{err}");
        assert!(!output.status.success(), "{name}");
    }
}
