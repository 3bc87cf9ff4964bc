//! SVIDs that run out, servers that go away.

use std::sync::Arc;
use std::time::Duration;

use plastron_agent_core::AgentError;
use plastron_agent_core::upstream::AgentDenial;

use crate::{Node, identities, pass, silence};

#[tokio::test(start_paused = true)]
async fn a_short_ttl_rotates_with_no_gap() {
    let node = Node::new();
    node.server.state().svid_ttl = 20;
    node.server.state().agent_ttl = 30;
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let mut held = identities(&mut workload).await.identities.remove(0);
    for _ in 0..50 {
        let fresh = identities(&mut workload).await.identities.remove(0);
        let now = node.clock.seconds();
        assert!(held.svid.not_after() > now + 3, "renewed {} s before its end", held.svid.not_after() - now);
        assert!(fresh.svid.not_after() > held.svid.not_after());
        assert_ne!(fresh.svid.public_key(), held.svid.public_key(), "every SVID has a fresh key");
        held = fresh;
    }
    let state = node.server.state();
    assert!(state.issued < 150, "{} SVIDs in about 500 s at 20 s each", state.issued);
    let mut keys = state.agent_keys.clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), state.agent_keys.len(), "every agent SVID has a fresh key");
    assert!(keys.len() > 20, "{}", keys.len());
    assert_eq!(*node.admitted.lock().unwrap(), state.attestations);
}

/// Threat 51
#[tokio::test(start_paused = true)]
async fn workloads_are_served_while_the_server_is_away() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let before = identities(&mut workload).await;

    node.server.state().away = true;
    pass(3000).await;
    let late = identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    assert!(Arc::ptr_eq(&late.identities[0], &before.identities[0]));
    silence(&mut workload, 1).await;

    node.server.state().away = false;
    let after = identities(&mut workload).await;
    assert!(after.identities[0].svid.not_after() > before.identities[0].svid.not_after());
}

#[tokio::test(start_paused = true)]
async fn an_expired_svid_is_not_handed_out() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    node.server.state().away = true;
    pass(3700).await;
    let mut late = agent.subscribe(&["unix:uid:1"]);
    silence(&mut late, 60).await;
    node.server.state().away = false;
    let fresh = identities(&mut late).await;
    assert!(fresh.identities[0].svid.not_after() > node.clock.seconds());
}

/// Threat 49
#[tokio::test(start_paused = true)]
async fn a_node_that_was_off_for_a_month_attests_again_by_itself() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    // Suspended: the wall clock moves, the monotonic one does not.
    node.clock.jump(Duration::from_secs(30 * 86_400));
    let update = identities(&mut workload).await;
    assert!(update.identities[0].svid.not_after() > node.clock.seconds());
    assert_eq!(node.server.state().attestations, 2);

    agent.kill().await;
    node.clock.jump(Duration::from_secs(30 * 86_400));
    let agent = node.start();
    identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    assert_eq!(node.server.state().attestations, 3);
}

/// What was issued by the clock of before is not valid by that of now: agent and workload get other SVIDs within seconds, and the clock is
/// not asked in a loop.
///
/// Threat 56
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_makes_new_svids() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    for (count, back) in [(2, Duration::from_secs(3600)), (3, Duration::from_secs(30 * 86_400))] {
        node.clock.jump_back(back);
        // It is signed again while the CA's certificate is still what workloads have; they get a new one by the push of the bundle.
        let began = tokio::time::Instant::now();
        let update = identities(&mut workload).await;
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(update.identities[0].svid.not_before() <= node.clock.seconds());
        pass(60).await;
        assert_eq!(node.server.state().attestations, count, "once for each time that the clock was set");
    }
    // And it goes on as ever: half a life later there is another.
    let before = node.clock.seconds();
    identities(&mut workload).await;
    assert!(node.clock.seconds() - before < 2000);
}

/// A server that is away keeps an agent waiting, whatever the clock says meanwhile.
///
/// Threat 56
#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_are_not_of_the_wall_clock() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    node.server.state().away = true;
    pass(3000).await;
    let attempts = node.server.state().attestations;
    node.clock.jump_back(Duration::from_secs(30 * 86_400));
    pass(300).await;
    let more = node.server.state().attestations - attempts;
    assert!((4..=8).contains(&more), "{more} attempts in five minutes");
    node.server.state().away = false;
    assert!(identities(&mut workload).await.identities[0].svid.not_before() <= node.clock.seconds());
}

/// Threat 52
#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_with_back_off() {
    let node = Node::new();
    node.server.state().away = true;
    let _agent = node.start();
    pass(3600).await;
    let attempts = node.server.state().attestations;
    assert!((50..=85).contains(&attempts), "{attempts} attempts in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_attest_again_renews_its_svid() {
    let node = Node::new();
    node.server.state().reattestable = false;
    let _agent = node.start();
    pass(4 * 3600).await;
    let state = node.server.state();
    assert_eq!(state.attestations, 1);
    assert!((6..=9).contains(&state.renewals), "{} renewals in four hours at one hour each", state.renewals);
}

/// Threat 26
#[tokio::test(start_paused = true)]
async fn a_renewal_under_another_id_is_refused() {
    let node = Node::new();
    node.server.state().reattestable = false;
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    pass(10).await;
    node.server.state().agent_path = "/spire/agent/fake/two";
    let before = node.clock.seconds();
    let error = agent.ended().await;
    let expired =
        matches!(&error, AgentError::Expired { .. } | AgentError::Denied { reason: AgentDenial::Expired, .. });
    assert!(expired, "{error}");
    assert!(node.clock.seconds() > before + 3500, "the SVID that it has serves to its end");
    assert!(node.server.state().renewals > 10, "and it keeps trying");
}
