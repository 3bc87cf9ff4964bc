//! Every verb of SPIRE's agent against a server that answers what the test says: what is printed is the golden text, and what is asked and
//! printed is what SPIRE's own program asks and prints, where `SPIRE_AGENT_BIN` names it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../server/cli/tests/commands/fake.rs"]
mod fake;
#[path = "verbs/svids.rs"]
mod svids;
#[path = "verbs/worlds.rs"]
mod worlds;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use plastron_agent_cli::{Command, Context, Environment, run};
use plastron_daemon::config::explain;
use plastron_daemon::go_flags;
use tokio::io::AsyncReadExt as _;

use crate::fake::{Fake, World};
use crate::worlds::{full, refusing, sick};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verbs/golden.txt");

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// A command line: `{dir}` is an empty directory, `{socket}` the server's.
struct Case {
    world: fn() -> World,
    line: &'static str,
    /// Why SPIRE's program does otherwise.
    differs: Option<&'static str>,
}

const CASES: &[Case] = &[
    same(full, "api fetch"),
    same(full, "api fetch x509"),
    same(full, "api fetch x509 -output json"),
    same(full, "api fetch x509 -output PrettyPrint -timeout 9s"),
    same(full, "api fetch x509 -write {dir}"),
    same(full, "api fetch x509 -silent"),
    same(full, "api fetch -silent=false words -output json"),
    same(full, "api fetch jwt -audience a"),
    same(full, "api fetch jwt -audience=a,b -spiffeID spiffe://example.org/web -output json"),
    same(full, "api fetch jwt -audience z -audience a,b -format json"),
    same(full, "api validate jwt -audience a -svid a.b.c"),
    same(full, "api validate jwt -audience a -svid a.b.c -output json"),
    same(full, "healthcheck"),
    same(full, "healthcheck -shallow"),
    same(full, "healthcheck -verbose"),
    same(full, "logger get -socketPath {socket}"),
    same(full, "logger get -socketPath {socket} -output json"),
    same(full, "logger set -socketPath {socket} -level Debug"),
    same(full, "logger reset -socketPath {socket}"),
    same(full, "logger reset -socketPath {socket} -output json"),
    same(full, "debug getinfo -socketPath {socket}"),
    same(full, "debug getinfo -socketPath {socket} -output json"),
    same(full, "api fetch jwt"),
    same(full, "api validate jwt"),
    same(full, "api validate jwt -audience a"),
    same(full, "logger set -socketPath {socket}"),
    same(full, "logger set -socketPath {socket} -level loud"),
    same(sick, "debug getinfo -socketPath {socket}"),
    same(sick, "healthcheck"),
    same(sick, "api validate jwt -audience a -svid a.b.c"),
    same(refusing, "logger get -socketPath {socket}"),
    same(refusing, "logger set -socketPath {socket} -level info"),
    same(refusing, "logger reset -socketPath {socket}"),
    same(refusing, "debug getinfo -socketPath {socket}"),
    same(refusing, "api validate jwt -audience a -svid a.b.c"),
    other(refusing, "api fetch", "ours says what to do, on a second line"),
    other(refusing, "api fetch jwt -audience a", "ours says what to do, on a second line"),
    other(full, "api fetch x509 -silent -write {dir}", "-silent is silent about files, too"),
    other(full, "api fetch x509 -output json -write {dir}", "files are written with JSON, too"),
    same(sick, "healthcheck -verbose"),
    other(refusing, "healthcheck -verbose", "ours says why the health is not known"),
];

const fn same(world: fn() -> World, line: &'static str) -> Case {
    Case { world, line, differs: None }
}

const fn other(world: fn() -> World, line: &'static str, differs: &'static str) -> Case {
    Case { world, line, differs: Some(differs) }
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
    /// What was written counts as output.
    fn of(succeeded: bool, (out, err): (Vec<u8>, Vec<u8>), fake: &Fake, dir: &Path) -> Self {
        let text = |bytes: Vec<u8>| masked(&String::from_utf8(bytes).unwrap().replace(dir.to_str().unwrap(), "{dir}"));
        let mut out = text(out);
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            let kind = std::fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
            writeln!(out, "{} has mode {mode:o}: {kind}", file.file_name().unwrap().display()).unwrap();
        }
        Self { succeeded, out, err: text(err), asked: fake.asked() }
    }
}

/// A text without what is another at every run: how long it took, new keys and certificates in JSON, and the spaces that Go's library puts
/// into the JSON of claims so that nobody relies on there being none.
fn masked(text: &str) -> String {
    let mut lines = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once(" after ") {
            Some((received, _)) if received.starts_with("Received ") => lines += &format!("{received} after ...\n"),
            _ if line.starts_with("Claims    :") => lines += &line.replace(", ", ",").replace(": ", ":"),
            _ => lines += line,
        }
    }
    let parts: Vec<&str> = lines.split('"').map(|part| if part.starts_with("MI") { "..." } else { part }).collect();
    parts.join("\"")
}

fn arguments(case: &Case, fake: &Fake, dir: &Path) -> Vec<String> {
    let socket = fake.socket();
    let line = case.line.replace("{dir}", dir.to_str().unwrap()).replace("{socket}", socket.to_str().unwrap());
    line.split(' ').map(str::to_owned).collect()
}

/// Our command line, as the program runs it.
async fn ours(case: &Case) -> (Outcome, u8) {
    let fake = Fake::start((case.world)());
    let dir = tempfile::tempdir().unwrap();
    let environment =
        Environment { agent_public_socket: Some(fake.socket().to_str().unwrap().to_owned()), ..Environment::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let program = Program::command().args_override_self(true);
    let given = std::iter::once("plastron-agent".to_owned()).chain(arguments(case, &fake, dir.path()));
    let line = go_flags::normalise(given.map(Into::into), &program);
    let Program { command } = Program::from_arg_matches(&program.try_get_matches_from(line).unwrap()).unwrap();
    let input = &mut std::io::empty();
    let context = Context { environment: &environment, tpm: None, input, out: &mut out, err: &mut err };
    let code = match run(command, context).await {
        Ok(()) => 0,
        Err(error) => {
            writeln!(err, "{}", explain(&error)).unwrap();
            error.exit_code()
        }
    };
    (Outcome::of(code == 0, (out, err), &fake, dir.path()), code)
}

/// SPIRE's program.
async fn theirs(program: &Path, case: &Case) -> Outcome {
    let fake = Fake::start((case.world)());
    let dir = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(program)
        .args(arguments(case, &fake, dir.path()))
        .env("SPIRE_AGENT_PUBLIC_SOCKET", fake.socket())
        .env("TZ", "UTC")
        .output()
        .await
        .unwrap();
    Outcome::of(output.status.success(), (output.stdout, output.stderr), &fake, dir.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_the_golden_text() {
    let mut text = String::new();
    for case in CASES {
        let (Outcome { out, err, .. }, code) = ours(case).await;
        writeln!(text, "$ plastron-agent {}   # exit code {code}\n{out}", case.line).unwrap();
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
    let Some(program) = std::env::var_os("SPIRE_AGENT_BIN") else {
        println!("NOT RUN: SPIRE_AGENT_BIN is not set");
        return;
    };
    let mut faults = String::new();
    for case in CASES {
        let (ours, _) = ours(case).await;
        let theirs = theirs(program.as_ref(), case).await;
        match (case.differs, ours == theirs) {
            (None, true) | (Some(_), false) => {}
            (None, false) => writeln!(faults, "## {}\nours:    {ours:?}\nSPIRE's: {theirs:?}", case.line).unwrap(),
            (Some(why), true) => writeln!(faults, "## {}: no longer differs ({why})", case.line).unwrap(),
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// `api watch` ends only when it is told to: what counts is the first update.
#[tokio::test(flavor = "multi_thread")]
async fn spires_watch_prints_the_same() {
    let Some(program) = std::env::var_os("SPIRE_AGENT_BIN") else {
        println!("NOT RUN: SPIRE_AGENT_BIN is not set");
        return;
    };
    let fake = Fake::start(full());
    let mut child = tokio::process::Command::new(program)
        .args(["api", "watch", "-socketPath", fake.socket().to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut theirs = String::new();
    while !theirs.ends_with("\n\n") || theirs.matches("SPIFFE ID:").count() < 2 {
        theirs.push(char::from(output.read_u8().await.unwrap()));
    }
    let command = Program::try_parse_from(["plastron-agent", "api", "watch"]).unwrap().command;
    let environment =
        Environment { agent_public_socket: Some(fake.socket().to_str().unwrap().to_owned()), ..Environment::default() };
    let (mut out, mut err, input) = (Update::default(), Vec::new(), &mut std::io::empty());
    let context = Context { environment: &environment, tpm: None, input, out: &mut out, err: &mut err };
    run(command, context).await.unwrap_err();
    assert_eq!(masked(&String::from_utf8(out.0).unwrap()), masked(&theirs));
}

/// Takes one update, up to where it is flushed, and no more.
#[derive(Default)]
struct Update(Vec<u8>, bool);

impl std::io::Write for Update {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.1 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1 = true;
        Ok(())
    }
}
