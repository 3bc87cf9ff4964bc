//! HashiCorp's reader, as `interop/hcl1-oracle` puts it on a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What it says of each request, in order.
pub(crate) fn ask(requests: &[Value]) -> Vec<Value> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/hcl1-oracle");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("oracle");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".").current_dir(sources);
    let built = build.output().expect("Go is missing: install golang-go in version 1.26 or newer");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let answers: Vec<Value> =
        BufReader::new(output).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(answers.len(), requests.len());
    answers
}
