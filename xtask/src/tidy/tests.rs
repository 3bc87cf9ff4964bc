//! The workspace is tidy, and each rule can be broken.

use super::metadata::Package;
use super::sources::File;
use super::*;

#[test]
fn the_workspace_is_tidy() {
    let faults = check(&crate::workspace_root()).unwrap();
    let shown: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

fn layer_faults(folder: &str, dependency: &str) -> Vec<String> {
    let name = |folder: &str| format!("plastron-{}", folder.replace('/', "-"));
    let mut packages =
        vec![Package { name: name(folder), folder: folder.to_owned(), dependencies: vec![dependency.to_owned()] }];
    if let Some(target) = dependency.strip_prefix("plastron-") {
        let target = target.replacen('-', "/", 1);
        packages.push(Package { name: dependency.to_owned(), folder: target, dependencies: Vec::new() });
    }
    let faults = layers::faults(&packages);
    let of_interest = faults.iter().filter(|fault| fault.subject == folder && !fault.rule.ends_with("is no package"));
    of_interest.map(Fault::to_string).collect()
}

#[test]
fn arrows_that_do_not_go_down_are_refused() {
    assert!(layer_faults("server/core", "plastron-spiffe").is_empty());
    assert_eq!(
        layer_faults("server/core", "plastron-server-store"),
        ["server/core: layer 3 depends on server/store of layer 5; arrows go strictly down"]
    );
    assert_eq!(
        layer_faults("hsm/soft", "plastron-hsm-pkcs11"),
        ["hsm/soft: layer 5 depends on hsm/pkcs11 of layer 5; arrows go strictly down"]
    );
    assert_eq!(
        layer_faults("server", "plastron-attestation-fake/tpm"),
        Vec::<String>::new(),
        "a name that is no package of ours is judged as foreign"
    );
    assert_eq!(
        layer_faults("server", "plastron-hsm-conformance"),
        ["server: layer 6 depends on hsm/conformance of layer 7; arrows go strictly down"]
    );
    assert_eq!(
        layer_faults("server/api", "plastron-agent-core"),
        ["server/api: depends on agent/core: server and agent share only what is below both"]
    );
}

#[test]
fn a_package_without_a_layer_is_refused() {
    assert_eq!(layer_faults("verify", "serde"), ["verify: has no layer: give it one in xtask/src/tidy/layers.rs"]);
}

#[test]
fn reserved_dependencies_stay_where_they_belong() {
    assert!(layer_faults("hsm/tpm", "tss-esapi").is_empty());
    assert_eq!(
        layer_faults("plugins/node-tpm", "tss-esapi"),
        ["plugins/node-tpm: must not use tss-esapi: only hsm/tpm may"]
    );
    assert_eq!(layer_faults("server/core", "sqlx"), ["server/core: must not use sqlx: only server/store may"]);
    assert_eq!(layer_faults("attestation/tcg", "tokio"), ["attestation/tcg: is pure and must not use tokio"]);
    assert_eq!(layer_faults("spiffe", "tracing"), ["spiffe: is pure and must not use tracing"]);
}

fn source_faults(path: &str, text: &str) -> Vec<String> {
    let file = File { path: path.to_owned(), text: text.to_owned() };
    sources::faults(&[file]).iter().map(Fault::to_string).collect()
}

#[test]
fn files_are_short_named_and_explained() {
    let long = format!("//! X.\n{}", "\n".repeat(400));
    assert_eq!(source_faults("a/src/x.rs", &long), ["a/src/x.rs: has 401 lines without tests, more than 400"]);
    assert!(source_faults("a/src/x/tests.rs", &long).is_empty());
    assert!(source_faults("proto/src/gen/x.rs", &long).is_empty());
    let tested = format!("//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(400));
    assert!(source_faults("a/src/x.rs", &tested).is_empty());

    assert_eq!(source_faults("a/src/x.rs", "fn x() {}"), ["a/src/x.rs: does not open with //! that says what it is"]);
    assert!(source_faults("a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
    assert_eq!(
        source_faults("a/src/utils.rs", "//! X."),
        ["a/src/utils.rs: \"utils\" says nothing about what is in it"]
    );
    assert_eq!(
        source_faults("common/src/x.rs", "//! X."),
        ["common/src/x.rs: \"common\" says nothing about what is in it"]
    );
    assert_eq!(
        source_faults("a/src/x.rs", "//! X.\n#[allow(dead_code)]"),
        ["a/src/x.rs:2: an exception is #[expect(…, reason = \"…\")]"]
    );
    let todo = ["// TO", "DO: x"].concat();
    assert_eq!(source_faults("dev", &todo), [["dev:1: TO", "DO: do it, or open an issue"].concat()]);
    assert_eq!(source_faults("a/README.md", &"\n".repeat(61)), ["a/README.md: is longer than 60 lines"]);
}

#[test]
fn pure_folders_refuse_the_same() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let files = [file("attestation/clippy.toml", "a"), file("spiffe/clippy.toml", "a"), file("hcl1/clippy.toml", "b")];
    let faults: Vec<String> = sources::faults(&files).iter().map(Fault::to_string).collect();
    assert_eq!(faults, ["hcl1/clippy.toml: is not the same as attestation/clippy.toml"]);
}

#[test]
fn manifests_take_lints_and_versions_from_the_workspace() {
    let good = "[lints]\nworkspace = true\n\n[dependencies]\nserde.workspace = true\n";
    assert!(source_faults("a/Cargo.toml", good).is_empty());
    assert_eq!(
        source_faults("a/Cargo.toml", "[dev-dependencies]\nserde = \"1\"\n"),
        [
            "a/Cargo.toml: does not take the workspace's lints",
            "a/Cargo.toml:2: the version belongs in the root's [workspace.dependencies]"
        ]
    );
}

#[test]
fn documents_name_tests_that_exist() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let code = file("a/src/x.rs", "/// Threat 8, 13\n#[test]\nfn refused() {}\n");
    let found = |document: File| -> Vec<String> {
        let code = File { path: code.path.clone(), text: code.text.clone() };
        documents::faults(&[document, code]).iter().map(Fault::to_string).collect()
    };
    let architecture = |line: &str| file("docs/ARCHITECTURE.md", line);
    assert!(found(architecture("Architecture invariant: x. Held by `a/src/x.rs::refused`.")).is_empty());
    assert_eq!(
        found(architecture("Architecture invariant: x. Held by `a/src/x.rs::gone`.")),
        ["docs/ARCHITECTURE.md:1: there is no test gone in a/src/x.rs"]
    );
    assert_eq!(
        found(architecture("Architecture invariant: x.")),
        ["docs/ARCHITECTURE.md:1: an invariant names the test that holds it, as `path/file.rs::test`"]
    );
    let threats = |line: &str| file("docs/threat-model.md", line);
    assert!(found(threats("| 13 | replay | `a/src/x.rs::refused` |")).is_empty());
    assert_eq!(
        found(threats("| 9 | rebinding | `a/src/x.rs::refused` |")),
        ["docs/threat-model.md:1: a/src/x.rs::refused does not say that it is of threat 9"]
    );
}
