//! A server that says no.

use plastron_agent_core::upstream::AgentDenial;
use plastron_agent_core::{AgentError, Readiness};

use crate::fake_server::Refusal;
use crate::{Node, identities, no_identity, pass, silence};

#[tokio::test(start_paused = true)]
async fn a_refused_first_attestation_ends_the_agent() {
    for refusal in [Refusal::Denied, Refusal::SpentToken] {
        let node = Node::new();
        node.server.state().attest_refusal = Some(refusal);
        let error = node.start().ended().await;
        assert!(matches!(error, AgentError::AttestationRefused(_)), "{error}");
        assert_eq!(node.server.state().attestations, 1);
        assert_eq!(*node.admitted.lock().unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_waits_for_an_operator_asks_again() {
    let node = Node::new();
    node.server.state().attest_refusal = Some(Refusal::NotYet);
    let agent = node.start();
    pass(3600).await;
    assert!(node.server.state().attestations > 50);
    node.server.state().attest_refusal = None;
    assert!(agent.identities.synchronised().await);
}

#[tokio::test(start_paused = true)]
async fn a_banned_agent_removes_its_svid_and_ends() {
    let node = Node::new();
    let agent = node.start();
    pass(10).await;
    node.server.state().denial = Some(AgentDenial::Banned);
    let error = agent.ended().await;
    assert!(matches!(error, AgentError::Banned { .. }), "{error}");

    node.server.state().attest_refusal = Some(Refusal::Banned);
    let error = node.start().ended().await;
    assert!(matches!(error, AgentError::AttestationRefused(_)), "its SVID is gone, so it had to attest: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_must_attest_again_does_and_its_workloads_do_not_notice() {
    for reason in [AgentDenial::MustReattest, AgentDenial::Expired, AgentDenial::NotAttested, AgentDenial::NotActive] {
        let node = Node::new();
        node.server.add_entry("one", "/one", &["unix:uid:1"]);
        let agent = node.start();
        let mut workload = agent.subscribe(&["unix:uid:1"]);
        identities(&mut workload).await;
        node.server.state().denial = Some(reason);
        pass(30).await;
        assert_eq!(node.server.state().attestations, 2, "{reason}");
        silence(&mut workload, 60).await;
        assert_eq!(node.server.state().attestations, 2, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_cut_off_by_its_verdict_loses_its_identities_and_heals() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    {
        let mut state = node.server.state();
        state.denial = Some(AgentDenial::MustReattest);
        state.attest_refusal = Some(Refusal::Denied);
    }
    assert_eq!(agent.identities.readiness(), Readiness::Ready);
    no_identity(&mut workload).await;
    assert_eq!(agent.identities.readiness(), Readiness::CutOff);
    let before = node.server.state().attestations;
    pass(3600).await;
    let attempts = node.server.state().attestations - before;
    assert!((50..=85).contains(&attempts), "{attempts} attempts in an hour");

    node.server.state().attest_refusal = None;
    identities(&mut workload).await;
    assert_eq!(agent.identities.readiness(), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_alone_leaves_the_present_svid() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    node.server.state().attest_refusal = Some(Refusal::Denied);
    let renewed = identities(&mut workload).await;
    assert_eq!(renewed.identities.len(), 1, "half-life has passed, and the old agent SVID still serves");
    pass(600).await;
    assert!(node.server.state().attestations > 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_a_spent_token_can_only_end() {
    for reason in [AgentDenial::MustReattest, AgentDenial::Expired, AgentDenial::NotAttested, AgentDenial::NotActive] {
        let node = Node::new();
        node.server.state().reattestable = false;
        let agent = node.start();
        pass(10).await;
        node.server.state().denial = Some(reason);
        let error = agent.ended().await;
        assert!(matches!(error, AgentError::Denied { reason: got, .. } if got == reason), "{error}");
        let stored = std::fs::read_to_string(node.path().join("agent-data.json")).unwrap();
        assert!(!stored.contains("reattestable\": true") && stored.contains("\"svid\": \"\""), "{stored}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_banned_agent_ends_when_its_renewal_says_so() {
    let node = Node::new();
    let agent = node.start();
    pass(10).await;
    node.server.state().attest_refusal = Some(Refusal::Banned);
    let error = agent.ended().await;
    assert!(matches!(error, AgentError::Banned { .. }), "{error}");
}
