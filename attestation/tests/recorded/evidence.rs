//! The recorded files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use plastron_attestation::EkTemplate;
use plastron_attestation_appraise::TrustAnchors;

use crate::index::{HEADER, Row};

/// More would not be reviewed.
const MAX_TOTAL_LEN: u64 = 300 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evidence")
}

#[expect(clippy::disallowed_methods, reason = "recorded files are what these tests are about")]
pub(crate) fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}; run `cargo xtask record-evidence`"))
}

/// The index, in its order.
pub(crate) fn rows() -> Vec<Row> {
    let text = String::from_utf8(read("index.tsv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEADER));
    let parse = |line| {
        let row = Row::parse(line).unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(row.line(), line);
        row
    };
    lines.map(parse).collect()
}

/// The conversation of that name.
pub(crate) fn row(machine: &str, step: &str) -> Row {
    let is = |row: &Row| row.machine == machine && row.step == step;
    rows().into_iter().find(is).unwrap_or_else(|| panic!("no conversation {machine} {step} was recorded"))
}

/// The manufacturer of the TPMs.
pub(crate) fn anchors() -> TrustAnchors {
    TrustAnchors::new(vec![read("root.der")], vec![read("intermediate.der")]).unwrap()
}

/// What was said in a conversation. Challenge and response are empty where it ended before.
pub(crate) struct Messages {
    pub(crate) payload: Vec<u8>,
    pub(crate) challenge: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

impl Messages {
    pub(crate) fn of(row: &Row) -> Self {
        let there = |message: &str| folder().join(row.file(message)).exists();
        let read_if_there = |message| if there(message) { read(&row.file(message)) } else { Vec::new() };
        Self {
            payload: read(&row.file("payload")),
            challenge: read_if_there("challenge"),
            response: read_if_there("response"),
        }
    }
}

/// Whatever lies there is of a conversation in the index, and is small enough to be reviewed.
#[test]
#[expect(clippy::disallowed_methods, reason = "recorded files are what these tests are about")]
fn every_file_is_in_the_index() {
    let messages = ["payload", "challenge", "response"];
    let mut expected: BTreeSet<String> =
        rows().iter().flat_map(|row| messages.map(|message| row.file(message))).collect();
    expected.extend(
        EkTemplate::ALL
            .iter()
            .flat_map(|template| ["attest", "signature"].map(|part| format!("{}.svid-key.{part}", template.name()))),
    );
    expected.extend(["index.tsv", "README.md", "root.der", "intermediate.der"].map(str::to_owned));
    let mut total = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(expected.contains(&name), "{name} is of no conversation in index.tsv");
        total += entry.metadata().unwrap().len();
    }
    assert!(total < MAX_TOTAL_LEN, "{total} bytes");
}
