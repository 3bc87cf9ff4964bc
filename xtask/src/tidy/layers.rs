//! The layers, and who may use what. The only place that says so.

use std::collections::BTreeSet;

use super::Fault;
use super::metadata::{Package, by_name};

/// Folder and layer. A dependency must lie on a strictly lower layer; implementations stand above services, so a service can
/// name no database, socket or device, and adapters never see each other.
const LAYERS: &[(&str, u8)] = &[
    // Tests and tools.
    ("bench", 8),
    ("boot-test", 8),
    ("xtask", 8),
    // Fakes, suites and the test kit: no program can link them.
    ("attestation/conformance", 7),
    ("attestation/fake-tpm", 7),
    ("hsm/conformance", 7),
    ("swtpm-tests", 7),
    // Programs: the only place that names back ends.
    ("agent", 6),
    ("server", 6),
    // Adapters: databases, sockets, C libraries, other processes.
    ("agent/bootstrap", 5),
    ("agent/cli", 5),
    ("agent/upstream", 5),
    ("agent/workload-api", 5),
    ("daemon", 5),
    ("hsm/pkcs11", 5),
    ("hsm/soft", 5),
    ("hsm/tpm", 5),
    ("plugins/node-join-token", 5),
    ("plugins/node-x509pop", 5),
    ("plugins/node-tpm", 5),
    ("plugins/upstream-disk", 5),
    ("plugins/upstream-spire", 5),
    ("plugins/workload-unix", 5),
    ("server/api", 5),
    ("server/cli", 5),
    ("server/federation", 5),
    ("server/store", 5),
    // Wire vocabulary.
    ("proto", 4),
    ("transport", 4),
    // Services: no sockets, no SQL, no proto.
    ("agent/core", 3),
    ("server/core", 3),
    // Seams and protocol.
    ("attestation", 2),
    ("hsm", 2),
    ("plugins", 2),
    // Pure rules.
    ("attestation/appraise", 1),
    // Words.
    ("attestation/tcg", 0),
    ("hcl1", 0),
    ("spiffe", 0),
    ("telemetry", 0),
];

/// Dependencies that only these folders may link.
const RESERVED: &[(&str, &[&str])] = &[
    ("tss-esapi", &["hsm/tpm"]),
    ("cryptoki", &["hsm/pkcs11"]),
    ("sqlx", &["server/store"]),
    ("rustls", &["transport", "daemon", "server", "agent", "agent/upstream", "bench"]),
    ("tokio-rustls", &["transport"]),
    (
        "tonic",
        &[
            "proto",
            "transport",
            "server/api",
            "server/cli",
            "agent/bootstrap",
            "agent/upstream",
            "agent/workload-api",
            "agent/cli",
            "plugins/upstream-spire",
            "bench",
        ],
    ),
    ("axum", &["daemon"]),
    ("metrics", &["telemetry", "daemon"]),
    ("metrics-exporter-prometheus", &["daemon"]),
];

/// Folders whose code is a function of its arguments, and what would give it a clock, a socket, a file, a log or luck.
const PURE: &[&str] = &["attestation", "attestation/appraise", "attestation/tcg", "hcl1", "spiffe"];
const IMPURE: &[&str] =
    &["async-trait", "getrandom", "rand", "rcgen", "rustix", "rustls", "tempfile", "tokio", "tokio-util", "tracing"];

/// The layers' faults.
pub(super) fn faults(packages: &[Package]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let known = by_name(packages);
    for package in packages {
        let folder = package.folder.as_str();
        let expected = format!("plastron-{}", folder.replace('/', "-"));
        if package.name != expected && !is_program(folder) {
            faults.push(Fault::new(folder, format_args!("the package is {}, not {expected}", package.name)));
        }
        let Some(layer) = layer_of(folder) else {
            faults.push(Fault::new(folder, "has no layer: give it one in xtask/src/tidy/layers.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(target) = known.get(dependency.as_str()) {
                faults.extend(arrow_fault(folder, layer, &target.folder));
            } else {
                faults.extend(foreign_fault(folder, dependency));
            }
        }
    }
    let folders: BTreeSet<&str> = packages.iter().map(|package| package.folder.as_str()).collect();
    for (folder, _) in LAYERS.iter().filter(|(folder, _)| !folders.contains(folder)) {
        faults.push(Fault::new(folder, "has a layer but is no package"));
    }
    faults
}

fn layer_of(folder: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == folder).map(|(_, layer)| *layer)
}

/// A program's package has the name of its command.
fn is_program(folder: &str) -> bool {
    layer_of(folder) == Some(6)
}

fn arrow_fault(folder: &str, layer: u8, target: &str) -> Option<Fault> {
    let sides =
        |name: &str| (name == "server" || name.starts_with("server/"), name == "agent" || name.starts_with("agent/"));
    if sides(folder) == (true, false) && sides(target) == (false, true)
        || sides(folder) == (false, true) && sides(target) == (true, false)
    {
        return Some(Fault::new(
            folder,
            format_args!("depends on {target}: server and agent share only what is below both"),
        ));
    }
    let below = layer_of(target)?;
    (below >= layer).then(|| {
        Fault::new(folder, format_args!("layer {layer} depends on {target} of layer {below}; arrows go strictly down"))
    })
}

fn foreign_fault(folder: &str, dependency: &str) -> Option<Fault> {
    if PURE.contains(&folder) && IMPURE.contains(&dependency) {
        return Some(Fault::new(folder, format_args!("is pure and must not use {dependency}")));
    }
    let (_, users) = RESERVED.iter().find(|(name, _)| *name == dependency)?;
    (!users.contains(&folder))
        .then(|| Fault::new(folder, format_args!("must not use {dependency}: only {} may", users.join(", "))))
}
