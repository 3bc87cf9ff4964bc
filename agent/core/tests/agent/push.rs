//! A server that pushes: what the agent does with it, and what it does when a push is lost, late, or out of order.

use std::sync::Arc;
use std::time::Duration;

use plastron_agent_core::AgentError;
use plastron_agent_core::upstream::AgentDenial;
use plastron_spiffe::x509::{Purpose, verify_chain};
use plastron_spiffe::{Bundle, TrustDomain};
use rustls_pki_types::UnixTime;
use tokio::time::Instant;

use crate::authority::{Authority, at};
use crate::fake_server::WatchService;
use crate::{Node, identities, no_identity, pass, silence};

fn pushing() -> Node {
    let node = Node::new();
    node.server.state().watch = WatchService::Works;
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    node
}

/// One more authority in the bundle; its sequence number.
fn publish(node: &Node) -> u64 {
    let next = Authority::new(&crate::domain(), node.clock.seconds());
    let mut state = node.server.state();
    state.bundle.x509_authorities.extend(next.bundle().x509_authorities);
    state.bundle.sequence_number += 1;
    state.bundle.sequence_number
}

fn verifies(bundle: &Bundle, update: &plastron_agent_core::WorkloadUpdate, now: u64) -> bool {
    let now: UnixTime = at(now);
    let verify = |identity: &Arc<plastron_agent_core::Identity>| {
        verify_chain(identity.svid.as_ref().clone(), bundle, Purpose::Any, now).is_ok()
    };
    update.identities.iter().all(verify)
}

/// Threat 48
#[tokio::test(start_paused = true)]
async fn a_pushed_change_arrives_at_once_and_polling_becomes_rare() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(120).await;
    let (syncs, began) = (node.server.state().syncs, Instant::now());
    silence(&mut workload, 600).await;
    let polled = node.server.state().syncs - syncs;
    assert!((9..=12).contains(&polled), "{polled} synchronisations in ten minutes");

    let sequence = publish(&node);
    node.server.push();
    let at = Instant::now();
    assert_eq!(identities(&mut workload).await.bundle.sequence_number, sequence);
    node.server.add_entry("two", "/two", &["unix:uid:1"]);
    node.server.push();
    assert_eq!(identities(&mut workload).await.identities.len(), 2);
    assert!(at.elapsed() < Duration::from_millis(10), "{:?}", at.elapsed());
    assert_eq!(node.server.state().acknowledged.last(), Some(&sequence));
    assert!(began.elapsed() < Duration::from_secs(601));
}

/// A server that pushes no foreign bundles is polled for them as often as without pushes; where no entry federates, nothing is asked.
#[tokio::test(start_paused = true)]
async fn a_foreign_bundle_that_is_not_pushed_arrives_soon_all_the_same() {
    let node = pushing();
    let foreign = TrustDomain::parse("other.example").unwrap();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(60).await;
    assert_eq!(node.server.state().foreign_asked_for, 0, "no entry federates");

    let authority = Authority::new(&foreign, node.clock.seconds());
    {
        let mut state = node.server.state();
        state.foreign.insert(foreign.clone(), authority.bundle());
        let entry = state.entries.get_mut("one").unwrap();
        entry.federates_with = vec![foreign.clone()];
        entry.revision += 1;
    }
    node.server.push();
    let mut update = identities(&mut workload).await;
    while update.federated_bundles.is_empty() {
        update = identities(&mut workload).await;
    }
    pass(30).await;
    while tokio::time::timeout(Duration::from_secs(1), workload.next()).await.is_ok() {}

    let (syncs, began) = (node.server.state().syncs, Instant::now());
    let next = Authority::new(&foreign, node.clock.seconds());
    node.server.state().foreign.insert(foreign.clone(), next.bundle());
    let update = identities(&mut workload).await;
    assert_eq!(*update.federated_bundles[&foreign], next.bundle());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(node.server.state().syncs <= syncs + 1);

    // What can't be fetched is kept; what is emptied is passed on, for it ends the trust in the domain.
    node.server.state().foreign_fails = true;
    silence(&mut workload, 300).await;
    node.server.state().foreign_fails = false;
    node.server.state().foreign.insert(foreign.clone(), Bundle::empty(foreign.clone()));
    let update = identities(&mut workload).await;
    assert!(update.federated_bundles[&foreign].x509_authorities.is_empty());
}

/// The order is: on disk, to the workloads, then acknowledged.
#[tokio::test(start_paused = true)]
async fn a_bundle_is_acknowledged_when_workloads_have_it_and_it_is_kept() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let before = identities(&mut workload).await;
    pass(10).await;
    assert_eq!(node.server.state().acknowledged, [1, 1], "what it has when it opens, and what it was told");
    let sequence = publish(&node);
    let data = node.path().join("agent-data.json");
    // A disk that takes nothing: a directory stands where the new file would be written.
    let kept = std::fs::read(&data).unwrap();
    std::fs::remove_file(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    node.server.push();
    silence(&mut workload, 5).await;
    assert_eq!(node.server.state().acknowledged, [1, 1], "it could not be kept, so no one has it");

    std::fs::remove_dir(&data).unwrap();
    std::fs::write(&data, &kept).unwrap();
    let after = identities(&mut workload).await;
    assert_eq!(after.bundle.sequence_number, sequence, "the safety net brings what was not taken");
    assert!(Arc::ptr_eq(&after.identities[0], &before.identities[0]));
    assert_ne!(std::fs::read(&data).unwrap(), kept);
    let sequence = publish(&node);
    node.server.push();
    assert_eq!(identities(&mut workload).await.bundle.sequence_number, sequence);
    pass(1).await;
    assert_eq!(node.server.state().acknowledged, [1, 1, sequence]);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_no_bundle_is_neither_taken_nor_acknowledged() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(10).await;
    let good = node.server.state().bundle.clone();
    node.server.state().bundle = Bundle { x509_authorities: Vec::new(), sequence_number: 2, ..good.clone() };
    node.server.push();
    silence(&mut workload, 5).await;
    let foreign = plastron_spiffe::TrustDomain::parse("other.example").unwrap();
    node.server.state().bundle = Bundle { trust_domain: foreign, sequence_number: 3, ..good };
    node.server.push();
    silence(&mut workload, 5).await;
    assert_eq!(node.server.state().acknowledged, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_older_bundle_is_taken_only_where_there_is_no_other() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    let old = node.server.state().bundle.clone();
    publish(&node);
    let new = node.server.state().bundle.clone();
    node.server.push();
    assert_eq!(identities(&mut workload).await.bundle.sequence_number, 2);

    // A server that is late, and then is not.
    node.server.state().bundle = old.clone();
    node.server.push();
    silence(&mut workload, 50).await;
    node.server.state().bundle = new.clone();
    node.server.push();
    silence(&mut workload, 50).await;
    node.server.state().bundle = old;
    node.server.push();
    silence(&mut workload, 50).await;
    assert!(!node.server.state().acknowledged[3..].contains(&1), "{:?}", node.server.state().acknowledged);
    // A store from a backup stays behind: the agent must not be stuck with what no one signs by.
    let restored = identities(&mut workload).await;
    assert_eq!(restored.bundle.sequence_number, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_stream_lost_is_there_when_the_next_one_opens() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(60).await;
    node.server.state().away = true;
    node.server.push();
    pass(5).await;
    let sequence = publish(&node);
    node.server.add_entry("two", "/two", &["unix:uid:1"]);
    node.server.state().away = false;
    loop {
        let update = identities(&mut workload).await;
        if update.bundle.sequence_number == sequence && update.identities.len() == 2 {
            break;
        }
    }
    pass(60).await;
    assert_eq!(node.server.state().acknowledged.last(), Some(&sequence));
}

#[tokio::test(start_paused = true)]
async fn what_a_mute_server_does_not_push_is_polled() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(60).await;
    node.server.state().watch = WatchService::Mute;
    let sequence = publish(&node);
    node.server.push();
    let began = Instant::now();
    assert_eq!(identities(&mut workload).await.bundle.sequence_number, sequence);
    assert!(began.elapsed() <= Duration::from_secs(67), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_the_agent_polls_as_before() {
    for service in [WatchService::Unimplemented, WatchService::Busy, WatchService::EndsAtOnce] {
        let node = pushing();
        node.server.state().watch = service;
        let agent = node.start();
        let mut workload = agent.subscribe(&["unix:uid:1"]);
        identities(&mut workload).await;
        pass(60).await;
        let (before, began) = (node.server.state().syncs, Instant::now());
        pass(3600).await;
        let state = node.server.state();
        let every = began.elapsed() / u32::try_from(state.syncs - before).unwrap();
        if service != WatchService::EndsAtOnce {
            assert!((4_500..=5_500).contains(&every.as_millis()), "{service:?}: every {every:?}");
        }
        // Six pauses of nine minutes at least, two renewals of the SVID in between, and the first one.
        let limit = if service == WatchService::Unimplemented { 9 } else { 200 };
        assert!((3..=limit).contains(&state.watches), "{service:?}: {} streams in an hour", state.watches);
    }
}

/// Threat 52
#[tokio::test(start_paused = true)]
async fn agents_do_not_come_back_all_at_once() {
    const AGENTS: usize = 40;
    let mut nodes = Vec::new();
    for _ in 0..AGENTS {
        let node = pushing();
        let agent = node.start();
        assert!(agent.identities.synchronised().await);
        nodes.push((node, agent));
    }
    pass(60).await;
    for (node, _) in &nodes {
        let mut state = node.server.state();
        (state.watch, state.watches, state.syncs) = (WatchService::Busy, 0, 0);
    }
    for (node, _) in &nodes {
        node.server.push();
    }
    let tried = |tries: usize| nodes.iter().filter(|(node, _)| node.server.state().watches >= tries).count();
    let synced = || nodes.iter().filter(|(node, _)| node.server.state().syncs > 0).count();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tried(1) <= AGENTS / 4 && synced() <= AGENTS / 4, "{} streams, {} polls", tried(1), synced());
    tokio::time::sleep(Duration::from_millis(950)).await;
    assert!((AGENTS / 4..=AGENTS * 3 / 4).contains(&tried(1)), "half of them within the first second: {}", tried(1));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(tried(1), AGENTS);
    pass(4).await;
    assert_eq!(synced(), AGENTS, "and all of them poll again");
}

/// Threat 27
#[tokio::test(start_paused = true)]
async fn a_denial_on_the_stream_is_a_denial() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(60).await;
    node.server.state().denial = Some(AgentDenial::MustReattest);
    node.server.push();
    let began = Instant::now();
    while node.server.state().attestations < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    silence(&mut workload, 30).await;

    // The stream goes on with the new SVID, and says the last word.
    let streams = node.server.state().watches;
    assert_eq!(streams, 2);
    node.server.state().denial = Some(AgentDenial::Banned);
    node.server.push();
    let began = Instant::now();
    let error = agent.ended().await;
    assert!(matches!(error, AgentError::Banned { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
}

/// Threat 50
#[tokio::test(start_paused = true)]
async fn what_a_tainted_authority_signed_is_replaced_and_never_dropped() {
    let node = pushing();
    for n in 0..300 {
        node.server.add_entry(&format!("e{n:03}"), &format!("/w{n}"), &["unix:uid:2"]);
    }
    let agent = node.start();
    let (mut one, mut many) = (agent.subscribe(&["unix:uid:1"]), agent.subscribe(&["unix:uid:2"]));
    let first = identities(&mut one).await;
    while identities(&mut many).await.identities.len() < 300 {}
    pass(30).await;
    let attestations = node.server.state().attestations;

    // Rotated: the new authority signs, and what the old one signed stays until it is due.
    let next = Authority::new(&crate::domain(), node.clock.seconds());
    {
        let mut state = node.server.state();
        state.bundle.x509_authorities.extend(next.bundle().x509_authorities);
        state.bundle.sequence_number += 1;
        state.authority = next;
    }
    node.server.push();
    assert!(Arc::ptr_eq(&identities(&mut one).await.identities[0], &first.identities[0]));
    identities(&mut many).await;
    silence(&mut one, 60).await;

    {
        let mut state = node.server.state();
        state.bundle.x509_authorities[0].tainted = true;
        state.bundle.sequence_number += 1;
        state.batches.clear();
    }
    node.server.push();
    let began = Instant::now();
    let untainted = {
        let bundle = node.server.state().bundle.clone();
        Bundle { x509_authorities: bundle.x509_authorities[1..].to_vec(), ..bundle }
    };
    let everything = node.server.state().bundle.clone();
    for (stream, count) in [(&mut one, 1), (&mut many, 300)] {
        loop {
            let update = identities(stream).await;
            assert_eq!(update.identities.len(), count, "none was dropped");
            assert!(verifies(&everything, &update, node.clock.seconds()));
            if verifies(&untainted, &update, node.clock.seconds()) {
                break;
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(3), "all at once: {:?}", began.elapsed());
    pass(13).await;
    {
        let state = node.server.state();
        assert!(state.batches.len() > 3, "{:?}", state.batches);
        assert_eq!(state.batches.iter().sum::<usize>(), 301, "each was asked for once");
        assert_eq!(state.attestations, attestations + 1, "the agent's own SVID as well");
    }
    // Revoked: nothing is left that would notice.
    {
        let mut state = node.server.state();
        state.bundle = Bundle { sequence_number: state.bundle.sequence_number + 1, ..untainted };
    }
    node.server.push();
    let revoked = identities(&mut one).await;
    assert!(verifies(&revoked.bundle, &revoked, node.clock.seconds()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_on_signing_with_a_tainted_authority_is_not_asked_all_the_time() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(30).await;
    {
        let mut state = node.server.state();
        state.bundle.x509_authorities[0].tainted = true;
        state.bundle.sequence_number += 1;
        state.batches.clear();
    }
    node.server.push();
    pass(600).await;
    let state = node.server.state();
    assert!((15..=25).contains(&state.batches.len()), "{} requests in ten minutes", state.batches.len());
    assert!(state.attestations <= 3, "{} attestations", state.attestations);
}

/// Another bundle may come with an attestation: workloads need it as well.
#[tokio::test(start_paused = true)]
async fn a_bundle_that_an_attestation_brought_reaches_the_workloads() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    let sequence = publish(&node);
    node.server.state().denial = Some(AgentDenial::MustReattest);
    let began = Instant::now();
    let update = identities(&mut workload).await;
    assert_eq!(update.bundle.sequence_number, sequence);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "before the next SVID, which would bring it too: {:?}",
        began.elapsed()
    );
}

/// The server decides on a stream by the SVID that it was opened with: a stream of the one before would be denied, or count as an agent that
/// did not replace it.
#[tokio::test(start_paused = true)]
async fn the_stream_is_opened_anew_with_every_svid_of_the_agent() {
    let node = pushing();
    node.server.state().agent_ttl = 60;
    let agent = node.start();
    assert!(agent.identities.synchronised().await);
    for renewals in 1..5 {
        while node.server.state().attestations <= renewals {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(node.server.state().watches, renewals + 1, "at once, and once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_shut_out_and_let_in_again_is_followed_again() {
    let node = pushing();
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    pass(30).await;
    {
        let mut state = node.server.state();
        state.denial = Some(AgentDenial::MustReattest);
        state.attest_refusal = Some(crate::fake_server::Refusal::Denied);
    }
    node.server.push();
    no_identity(&mut workload).await;
    node.server.state().attest_refusal = None;
    identities(&mut workload).await;
    pass(30).await;
    let sequence = publish(&node);
    node.server.push();
    let began = Instant::now();
    assert_eq!(identities(&mut workload).await.bundle.sequence_number, sequence);
    assert!(began.elapsed() < Duration::from_millis(10));
}
