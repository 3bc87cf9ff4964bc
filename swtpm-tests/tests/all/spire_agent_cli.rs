//! The agent's command line on our agent's two sockets, by our program, and by SPIRE's where `SPIRE_AGENT_BIN` names it, which has to print the
//! same at each step.

use std::path::{Path, PathBuf};
use std::process::Command;

use plastron_swtpm_tests::{Attestor, ServerOptions, Spire, TRUST_DOMAIN, TestAgent, TestServer, Upstream, program};

use crate::spire_kit::{eventually, own_selector};

/// Whether it succeeded, and what is on standard output and on the first line of standard error: ours say on the second what to do.
#[derive(Debug, PartialEq, Eq)]
struct Printed {
    succeeded: bool,
    out: String,
    error: String,
}

fn print(program: &Path, socket: &Path, line: &str) -> Printed {
    let output = Command::new(program).args(line.split(' ')).arg("-socketPath").arg(socket).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap().lines().next().unwrap_or_default().to_owned();
    Printed { succeeded: output.status.success(), out: masked(&String::from_utf8(output.stdout).unwrap()), error }
}

/// Without how long it took, and without the spaces that Go's library puts into claims at random places.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let kept = match line.split_once(':') {
            Some(("Claims    ", claims)) => format!("Claims    :{}", claims.replace(", ", ",").replace(": ", ":")),
            Some(("  Uptime", _)) => "  Uptime: ...".to_owned(),
            Some(("  Last Sync Success", _)) => "  Last Sync Success: ...".to_owned(),
            _ if line.starts_with("Received ") => line.split(" after ").next().unwrap_or_default().to_owned(),
            _ => line.to_owned(),
        };
        out += &kept;
        out.push('\n');
    }
    out
}

#[test]
fn both_programs_print_the_same_on_the_agents_sockets() {
    let server = TestServer::start(ServerOptions::default()).unwrap();
    let admin = tempfile::tempdir().unwrap();
    let admin_socket = admin.path().join("admin.sock");
    let lines = format!("admin_socket_path = \"{}\"", admin_socket.display());
    let bundle = server.bundle_file();
    let upstream = Upstream { lines: &lines, ..server.upstream(&bundle) };
    let agent = TestAgent::start_at(&upstream, &Attestor::JoinToken(server.join_token().unwrap())).unwrap();
    let ours = program("plastron-agent").unwrap();
    let theirs = Spire::from_env().map(|spire| spire.agent_program().to_owned());
    let both = |socket: &Path, line: &str| -> Printed {
        let printed = print(&ours, socket, line);
        if let Some(theirs) = &theirs {
            assert_eq!(print(theirs, socket, line), printed, "{line}");
        }
        printed
    };
    let socket: PathBuf = agent.socket();

    for line in ["api fetch", "api fetch x509 -output json", "api fetch jwt -audience db"] {
        let refused = both(&socket, line);
        assert!(!refused.succeeded && refused.out.is_empty(), "{line}: {refused:?}");
        assert_eq!(refused.error, "rpc error: code = PermissionDenied desc = no identity issued", "{line}");
    }

    let agents = server.cli(&["agent", "list", "-output", "json"]).unwrap().stdout;
    let agents: serde_json::Value = serde_json::from_slice(&agents).unwrap();
    let parent = format!("spiffe://{TRUST_DOMAIN}{}", agents["agents"][0]["id"]["path"].as_str().unwrap());
    let (id, selector) = (format!("spiffe://{TRUST_DOMAIN}/web"), own_selector());
    let entry = ["entry", "create", "-parentID", &parent, "-spiffeID", &id, "-selector", &selector, "-hint", "h"];
    server.cli(&entry).unwrap();
    eventually("an SVID", || agent.cli(&["api", "fetch"]).ok());

    let fetched = both(&socket, "api fetch x509");
    assert!(fetched.out.starts_with(&format!("Received 1 svid\n\nSPIFFE ID:\t\t{id}\nHint:\t\t\th\n")), "{fetched:?}");
    both(&socket, "api fetch x509 -output json");
    both(&socket, "api fetch jwt -audience db");
    let tokens = both(&socket, "api fetch jwt -audience db -output json");
    let tokens: serde_json::Value = serde_json::from_str(&tokens.out).unwrap();
    let token = tokens[0]["svids"][0]["svid"].as_str().unwrap();
    let valid = both(&socket, &format!("api validate jwt -audience db -svid {token}"));
    assert!(valid.out.starts_with(&format!("SVID is valid.\nSPIFFE ID : {id}\nClaims    : {{")), "{valid:?}");
    both(&socket, &format!("api validate jwt -audience db -svid {token} -output json"));
    let refused = both(&socket, &format!("api validate jwt -audience other -svid {token}"));
    assert!(!refused.succeeded && refused.error.starts_with("SVID is not valid: "), "{refused:?}");
    assert_eq!(both(&socket, "healthcheck -verbose").out, "Checking agent health...\nAgent is healthy.\n");

    let level = |line: &str| both(&admin_socket, line).out;
    assert_eq!(level("logger set -level error"), "Logger Level : error\nLaunch Level : debug\n\n");
    assert_eq!(level("logger get"), "Logger Level : error\nLaunch Level : debug\n\n");
    assert_eq!(level("logger reset"), "Logger Level : debug\nLaunch Level : debug\n\n");
    both(&admin_socket, "logger get -output json");
    let info = both(&admin_socket, "debug getinfo").out;
    for line in ["  Cached X.509 SVIDs:              1\n", &format!("    [0] SPIFFE ID:  {parent}\n")] {
        assert!(info.contains(line), "{line} in {info}");
    }
}
