//! Every verb against a server that answers what the test says: what is printed is the golden text, and what is asked and printed is what
//! SPIRE's own program asks and prints, where `SPIRE_SERVER_BIN` names it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "commands/cases.rs"]
mod cases;
#[path = "commands/fake.rs"]
mod fake;
#[path = "commands/messages.rs"]
mod messages;
#[path = "commands/worlds.rs"]
mod worlds;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use plastron_daemon::go_flags;
use plastron_proto::spire::api::server::svid::v1::MintX509svidRequest;
use plastron_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
};
use plastron_server_cli::{Command, Environment, Io, describe, run};

use prost::Message as _;

use crate::cases::{Case, cases};
use crate::fake::Fake;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands/golden.txt");

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// What one run of a program left behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    succeeded: bool,
    out: String,
    err: String,
    asked: Vec<(String, Vec<u8>)>,
}

impl Outcome {
    /// What was written counts as output; the directory's name and whatever is another at every run do not.
    fn of(succeeded: bool, (out, err): (Vec<u8>, Vec<u8>), fake: &Fake, dir: &Path) -> Self {
        let name = dir.to_str().unwrap();
        let text = |bytes: Vec<u8>| without_keys(&String::from_utf8(bytes).unwrap().replace(name, "{dir}"));
        let mut out = text(out);
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            let content = without_keys(&std::fs::read_to_string(&file).unwrap());
            writeln!(out, "{} has mode {mode:o}:\n{content}", file.file_name().unwrap().display()).unwrap();
        }
        Self { succeeded, out, err: text(err), asked: fake.asked() }
    }
}

/// A text in which new private keys, in PEM or in JSON, are dots.
fn without_keys(text: &str) -> String {
    let mut text = text.to_owned();
    for (begin, end) in [("-----BEGIN PRIVATE KEY-----\n", "\n-----END PRIVATE KEY"), ("\"private_key\":\"", "\"")] {
        if let Some(at) = text.find(begin).map(|at| at + begin.len()) {
            let length = text[at..].find(end).unwrap();
            text.replace_range(at..at + length, "...");
        }
    }
    text
}

/// The golden text needs no certificate in full: that they are the right ones is what the comparison with SPIRE's program shows.
fn without_certificates(text: &str) -> String {
    let mut inside = false;
    let lines = text.split_inclusive('\n').filter(|line| {
        let was_inside = inside;
        inside = line.starts_with("-----BEGIN CERTIFICATE") || inside && !line.starts_with("-----END CERTIFICATE");
        !was_inside || !inside
    });
    lines.collect()
}

/// Our command line, as the program runs it.
async fn ours(case: &Case) -> (Outcome, u8) {
    let fake = Fake::start((case.world)());
    let dir = tempfile::tempdir().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = case.input.as_bytes();
    let environment = Environment { socket: Some(fake.socket().to_str().unwrap().to_owned()), socket_template: None };
    let mut io = Io { input: &mut input, out: &mut out, err: &mut err, environment };
    let given = std::iter::once("plastron-server".to_owned()).chain(case.arguments(dir.path()));
    let program = Program::command().args_override_self(true);
    let arguments = go_flags::normalise(given.map(Into::into), &program);
    let code = match program.try_get_matches_from(arguments).and_then(|matches| Program::from_arg_matches(&matches)) {
        Ok(Program { command }) => match run(command, &mut io).await {
            Ok(()) => 0,
            Err(error) => {
                writeln!(err, "Error: {}", describe(&error)).unwrap();
                error.exit_code()
            }
        },
        Err(error) => {
            write!(err, "{error}").unwrap();
            2
        }
    };
    (Outcome::of(code == 0, (out, err), &fake, dir.path()), code)
}

/// SPIRE's program.
async fn theirs(program: &Path, case: &Case) -> Outcome {
    let fake = Fake::start((case.world)());
    let dir = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(program)
        .args(case.arguments(dir.path()))
        .env("SPIRE_SERVER_PRIVATE_SOCKET", fake.socket())
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A program that reads no input closes it.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut input, case.input.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    Outcome::of(output.status.success(), (output.stdout, output.stderr), &fake, dir.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_the_golden_text() {
    let mut text = String::new();
    for case in cases() {
        let (Outcome { out, err, .. }, code) = ours(&case).await;
        let out = without_certificates(&out);
        let input = if case.input.is_empty() { "" } else { " < input" };
        writeln!(text, "$ plastron-server {}{input}   # {}, exit code {code}\n{out}", case.line, case.name).unwrap();
        if !err.is_empty() {
            writeln!(text, "standard error:\n{err}").unwrap();
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(text == golden, "not what golden.txt says; run with UPDATE_GOLDEN=1 and look at the difference");
}

#[tokio::test(flavor = "multi_thread")]
async fn spires_program_asks_and_prints_the_same() {
    let Some(program) = std::env::var_os("SPIRE_SERVER_BIN") else {
        println!("NOT RUN: SPIRE_SERVER_BIN is not set");
        return;
    };
    let mut faults = String::new();
    for case in cases() {
        let (ours, _) = ours(&case).await;
        let theirs = theirs(program.as_ref(), &case).await;
        let differences = differences(&ours, &theirs);
        match (case.differs, differences.is_empty()) {
            (None, true) | (Some(_), false) => {}
            (None, false) => writeln!(faults, "## {}: {}\n{differences}", case.name, case.line).unwrap(),
            (Some(why), true) => writeln!(faults, "## {}: no longer differs ({why})", case.name).unwrap(),
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

fn differences(ours: &Outcome, theirs: &Outcome) -> String {
    let mut text = String::new();
    if ours.succeeded != theirs.succeeded {
        writeln!(text, "success: ours {}, SPIRE's {}", ours.succeeded, theirs.succeeded).unwrap();
    }
    for (what, ours, theirs) in [("output", &ours.out, &theirs.out), ("error", &ours.err, &theirs.err)] {
        if ours != theirs {
            writeln!(text, "{what}, ours:\n{ours:?}\n{what}, SPIRE's:\n{theirs:?}").unwrap();
        }
    }
    if asked(ours) != asked(theirs) {
        for (whose, outcome) in [("ours", ours), ("SPIRE's", theirs)] {
            writeln!(text, "asked, {whose}:").unwrap();
            for (path, message) in &asked(outcome) {
                writeln!(text, "  {path} {}", message.escape_ascii()).unwrap();
            }
        }
    }
    text
}

/// The requests. Go writes a `oneof` after all other fields, so those messages that have one are written anew.
fn asked(outcome: &Outcome) -> Vec<(String, Vec<u8>)> {
    let anew = |(path, message): &(String, Vec<u8>)| {
        let bytes = if path.ends_with("/BatchCreateFederationRelationship") {
            BatchCreateFederationRelationshipRequest::decode(message.as_slice()).unwrap().encode_to_vec()
        } else if path.ends_with("/BatchUpdateFederationRelationship") {
            BatchUpdateFederationRelationshipRequest::decode(message.as_slice()).unwrap().encode_to_vec()
        } else if path.ends_with("/MintX509SVID") {
            // The CSR of a new key.
            MintX509svidRequest { csr: Vec::new(), ..MintX509svidRequest::decode(message.as_slice()).unwrap() }
                .encode_to_vec()
        } else {
            message.clone()
        };
        (path.clone(), bytes)
    };
    outcome.asked.iter().map(anew).collect()
}
