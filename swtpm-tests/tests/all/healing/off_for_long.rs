//! Server and agent were off for longer than anything that they hold is valid.

use std::time::Duration;

use plastron_swtpm_tests::{Attestor, TestAgent};

use super::bed::{BOUND, Bed, MONTH};

/// The CA has expired, and so have the agent's SVID, the bundle that it kept and the one that it was configured with. The server makes a new
/// CA, which the old one names; the agent follows, attests with its TPM and is who it was.
///
/// Threat 49
#[test]
fn both_were_off_for_a_month() {
    let mut bed = Bed::start("");
    let node = bed.node();
    bed.agent.kill().unwrap();
    bed.server.kill().unwrap();
    bed.set_clocks(MONTH);
    bed.server.start_again().unwrap();
    bed.agent.start_again_without_waiting().unwrap();
    bed.await_svid("both off for 30 days");
    assert_eq!(bed.node(), node);
    bed.server.process().wait_for_line("The CA before is not valid now: it names the present one", BOUND).unwrap();
    let log = bed.agent.process().log();
    for said in
        ["Stored SVID does not serve any more", "have expired: it takes a server", "Node attestation was successful"]
    {
        assert!(log.contains(said), "{said}: {log}");
    }
}

/// Threat 49
#[test]
fn the_server_was_off_for_a_month() {
    let mut bed = Bed::start("");
    bed.server.kill().unwrap();
    bed.set_clocks(MONTH);
    bed.agent.process().wait_for_line("X509-SVID expired before it could be renewed", BOUND).unwrap();
    bed.server.start_again().unwrap();
    bed.await_svid("server off for 30 days");
}

/// Its server went through more CAs than still have keys. It says so, and takes the bundle that it is given when it starts.
///
/// Threat 49
#[test]
fn an_agent_that_was_off_alone_for_many_lives_of_the_ca_says_what_it_needs() {
    // The CA lives for half a minute here: three of them go by.
    let mut bed = Bed::start("ca_ttl = \"30s\"\n  agent_ttl = \"5s\"\n  default_x509_svid_ttl = \"5s\"");
    let node = bed.node();
    bed.agent.kill().unwrap();
    std::thread::sleep(Duration::from_secs(75));
    bed.agent.start_again_without_waiting().unwrap();
    let line = bed.agent.process().wait_for_line("names the peer's as its successor", BOUND).unwrap();
    assert!(line.contains("trust_bundle_path"), "{line}");
    bed.agent.terminate().unwrap();
    bed.server.write_bundle().unwrap();
    bed.agent.start_again_without_waiting().unwrap();
    bed.await_svid("agent off alone, bundle replaced");
    assert_eq!(bed.node(), node);
}

/// A spent token opens nothing again: the agent ends and says what it needs.
///
/// Threat 49
#[test]
fn a_join_token_agent_that_was_off_for_a_month_asks_for_a_new_token() {
    let mut bed = Bed::start("");
    let attestor = Attestor::JoinToken(bed.server.join_token().unwrap());
    let mut agent = TestAgent::start_by(&bed.agent_clock, &bed.server, &attestor).unwrap();
    agent.kill().unwrap();
    bed.server.kill().unwrap();
    bed.set_clocks(MONTH);
    bed.server.start_again().unwrap();
    agent.start_again_without_waiting().unwrap();
    let status = agent.process().wait(BOUND).unwrap();
    assert!(!status.success());
    agent
        .process()
        .wait_for_line("join token does not exist or has already been used", Duration::from_secs(5))
        .unwrap();
}
