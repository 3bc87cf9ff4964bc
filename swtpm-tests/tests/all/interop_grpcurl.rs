//! grpcurl on both programs' sockets: it finds the services by reflection, and sends what a person types.

use std::path::Path;
use std::process::{Command, Output};

use plastron_swtpm_tests::{Process, grpcurl};
use serde_json::Value;

use crate::workloads::testbed::{PATIENCE, TRUST_DOMAIN, Testbed, eventually, own_uid};

const HEADER: &[&str] = &["-H", "workload.spiffe.io: true"];

fn command(socket: &Path, before: &[&str], after: &[&str]) -> Command {
    let mut command = Command::new(grpcurl().unwrap());
    command.arg("-plaintext").args(before).arg(format!("unix://{}", socket.display())).args(after);
    command
}

fn output(socket: &Path, before: &[&str], after: &[&str]) -> Output {
    command(socket, before, after).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn answered(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn grpcurl_lists_and_calls_what_the_sockets_serve() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    bed.entry(&bed.only_node(), "/curl", &[&own_uid()], &[]);
    let id = format!("spiffe://{TRUST_DOMAIN}/curl");

    let listed = said(&output(&bed.server_socket(), &[], &["list"]));
    for service in ["spire.api.server.entry.v1.Entry", "spire.api.server.agent.v1.Agent", "grpc.health.v1.Health"] {
        assert!(listed.lines().any(|line| line == service), "{service} in {listed}");
    }
    let counted = answered(&output(&bed.server_socket(), &[], &["spire.api.server.entry.v1.Entry/CountEntries"]));
    assert_eq!(counted["count"], 1);

    let socket = agent.socket();
    let listed = said(&output(&socket, &[], &["list"]));
    for service in ["SpiffeWorkloadAPI", "envoy.service.secret.v3.SecretDiscoveryService", "grpc.health.v1.Health"] {
        assert!(listed.lines().any(|line| line == service), "{service} in {listed}");
    }
    let tokens = [HEADER, &["-d", r#"{"audience": ["reports"]}"#]].concat();
    let tokens = eventually("a token", || {
        let output = output(&socket, &tokens, &["SpiffeWorkloadAPI/FetchJWTSVID"]);
        output.status.success().then(|| answered(&output))
    });
    assert_eq!(tokens["svids"][0]["spiffeId"], id.as_str());
    let validation = format!(r#"{{"audience": "reports", "svid": {}}}"#, tokens["svids"][0]["svid"]);
    let validation = [HEADER, &["-d", &validation]].concat();
    assert_eq!(
        answered(&output(&socket, &validation, &["SpiffeWorkloadAPI/ValidateJWTSVID"]))["spiffeId"],
        id.as_str()
    );
    let mut stream =
        Process::spawn("grpcurl", &command(&socket, HEADER, &["SpiffeWorkloadAPI/FetchX509SVID"])).unwrap();
    let line = stream.wait_for_line("\"spiffeId\"", PATIENCE).unwrap();
    assert!(line.contains(&id), "{line}");

    // Secrets are messages within messages: their types are found by reflection too.
    let wanted = ["-d", r#"{"resourceNames": ["default"]}"#];
    let secret = answered(&output(&socket, &wanted, &["envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"]));
    assert_eq!(secret["resources"][0]["name"], "default");
    assert!(secret["resources"][0]["tlsCertificate"]["certificateChain"]["inlineBytes"].is_string(), "{secret}");

    // A stream that is not refused would go on.
    let refused = output(&socket, &["-max-time", "60"], &["SpiffeWorkloadAPI/FetchX509SVID"]);
    assert!(!refused.status.success());
    let text = said(&refused);
    assert!(text.contains("InvalidArgument") && text.contains("security header missing from request"), "{text}");
}

/// What clients name as the host on a Unix socket: nothing, a word, or the path, as it is and escaped.
#[test]
fn grpcurl_may_name_any_authority() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let (ours, servers) = (agent.socket(), bed.server_socket());
    let path = ours.to_str().unwrap().to_owned();
    for authority in ["localhost", "localhost:443", "%2Ftmp%2Fagent.sock", path.as_str(), "unix:/x", "a@b", "[::1]"] {
        for socket in [&ours, &servers] {
            let health = output(socket, &["-authority", authority], &["grpc.health.v1.Health/Check"]);
            assert_eq!(answered(&health)["status"], "SERVING", "{authority}");
        }
    }
}
