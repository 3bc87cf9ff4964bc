//! Workloads on go-spiffe: it validates what the real agent hands out, all the time while authorities are rotated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use plastron_swtpm_tests::{Process, go_workload};

use crate::interop_peers::two_trust_domains;
use crate::workloads::testbed::{Agent, PATIENCE, TRUST_DOMAIN, Testbed, eventually, path_of};

/// Short lives: the CA that is prepared after 24 s signs after 40 s, and every 16 s there is another.
pub(crate) const SHORT_LIVES: &str =
    "ca_ttl = \"48s\"\n  agent_ttl = \"16s\"\n  default_x509_svid_ttl = \"8s\"\n  default_jwt_svid_ttl = \"8s\"";
/// Two CAs are activated in this time.
pub(crate) const ROTATION: Duration = Duration::from_secs(65);

fn workload(bed: &Testbed, name: &str) -> PathBuf {
    let path = bed.path(name);
    fs::copy(go_workload().unwrap(), &path).unwrap();
    path
}

fn command(program: &Path, agent: &Agent, arguments: &[&str]) -> Command {
    command_at(program, &format!("unix://{}", agent.socket().display()), arguments)
}

fn command_at(program: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("SPIFFE_ENDPOINT_SOCKET", endpoint);
    command
}

fn output(program: &Path, agent: &Agent, arguments: &[&str]) -> Output {
    command(program, agent, arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The numbers of a line `x509 done: 12 handshakes, 3 svids, …`.
pub(crate) fn numbers(line: &str) -> Vec<usize> {
    let words = line.split([' ', ',']).skip(2);
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn two_workloads_on_go_spiffe_know_each_other_and_no_third() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db, other) = (workload(&bed, "web"), workload(&bed, "db"), workload(&bed, "other"));
    for (program, path) in [(&web, "/web"), (&db, "/db"), (&other, "/other")] {
        bed.entry(&node, path, &[&path_of(program)], &[]);
        let line = format!("spiffe://{TRUST_DOMAIN}{path} 1\n");
        eventually(path, || (said(&output(program, &agent, &["identity"])) == line).then_some(()));
    }
    let (web_id, db_id) = (format!("spiffe://{TRUST_DOMAIN}/web"), format!("spiffe://{TRUST_DOMAIN}/db"));
    let mut serving = Process::spawn("go db", &command(&db, &agent, &["serve", &web_id])).unwrap();
    let line = serving.wait_for_line("listening ", PATIENCE).unwrap();
    let address = line.strip_prefix("listening ").unwrap();
    let answered = output(&web, &agent, &["call", address, &db_id]);
    assert!(answered.status.success(), "{}", said(&answered));
    serving.wait_for_line(&format!("served {web_id}"), PATIENCE).unwrap();
    // The server does not take another workload, and a client does not take another server.
    assert!(!output(&other, &agent, &["call", address, &db_id]).status.success());
    serving.wait_for_line("refused:", PATIENCE).unwrap();
    let mistaken = output(&web, &agent, &["call", address, &web_id]);
    assert!(said(&mistaken).contains("unexpected ID"), "{}", said(&mistaken));
}

/// An SVID that comes before its authority fails a handshake here, and one that ends before the next comes does too.
#[test]
fn go_spiffe_validates_every_svid_over_rotations() {
    let bed = Testbed::start(SHORT_LIVES);
    let agent = bed.start_agent();
    let web = workload(&bed, "web");
    bed.entry(&bed.only_node(), "/web", &[&path_of(&web)], &[]);
    let identified = format!("spiffe://{TRUST_DOMAIN}/web");
    eventually("/web", || said(&output(&web, &agent, &["identity"])).contains(&identified).then_some(()));
    let seconds = format!("{}s", ROTATION.as_secs());
    let mut running = Process::spawn("go web", &command(&web, &agent, &["rotation", &seconds])).unwrap();
    let line = running.wait_for_line("x509 done: ", ROTATION + PATIENCE).unwrap();
    println!("{}", running.log());
    let [handshakes, svids, signers, authorities] = numbers(&line)[..] else { unreachable!("{line}") };
    assert!(handshakes > 50 && svids >= 5 && signers >= 2 && authorities >= 3, "{line}");
}

/// Tokens come from the cache of the agent or fresh, by whichever key signs; each is validated with the bundle that was pushed, and by the
/// agent, and refused for another audience.
#[test]
fn go_spiffe_validates_every_token_over_rotations() {
    let bed = Testbed::start(SHORT_LIVES);
    let agent = bed.start_agent();
    let web = workload(&bed, "web");
    bed.entry(&bed.only_node(), "/web", &[&path_of(&web)], &[]);
    let identified = format!("spiffe://{TRUST_DOMAIN}/web");
    eventually("/web", || said(&output(&web, &agent, &["identity"])).contains(&identified).then_some(()));
    let seconds = format!("{}s", ROTATION.as_secs());
    let mut running = Process::spawn("go jwt", &command(&web, &agent, &["jwt", "reports", &seconds])).unwrap();
    let line = running.wait_for_line("jwt done: ", ROTATION + PATIENCE).unwrap();
    println!("{}", running.log());
    let [rounds, tokens, signers, authorities] = numbers(&line)[..] else { unreachable!("{line}") };
    assert!(rounds > 50 && tokens >= 5 && signers >= 2 && authorities >= 3, "{line}");
}

#[test]
fn go_spiffe_knows_a_workload_of_another_trust_domain_while_their_bundles_do() {
    let program = go_workload().unwrap();
    two_trust_domains(|endpoint, arguments| {
        Process::spawn("go peer", &command_at(&program, endpoint, arguments)).unwrap()
    });
}
