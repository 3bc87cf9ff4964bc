//! Foreign bundles: pushed by name and fetched at once, and never in the way of what is our own.

use std::time::Duration;

use plastron_spiffe::{Bundle, TrustDomain};
use tokio::time::Instant;

use crate::authority::Authority;
use crate::fake_server::WatchService;
use crate::{Node, Running, identities, pass, silence};

fn foreign(n: usize) -> TrustDomain {
    TrustDomain::parse(&format!("other-{n:02}.example")).unwrap()
}

/// A server that pushes foreign bundles, and an entry that federates with so many domains. Only the server knows their bundles.
fn federated(domains: usize) -> Node {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let mut state = node.server.state();
    (state.watch, state.foreign_pushed) = (WatchService::Works, true);
    for n in 0..domains {
        state.foreign.insert(foreign(n), Authority::new(&foreign(n), node.clock.seconds()).bundle());
    }
    state.entries.get_mut("one").unwrap().federates_with = (0..domains).map(foreign).collect();
    drop(state);
    node
}

fn set(node: &Node, n: usize) -> Bundle {
    let bundle = Authority::new(&foreign(n), node.clock.seconds()).bundle();
    node.server.state().foreign.insert(foreign(n), bundle.clone());
    node.server.push();
    bundle
}

fn asked_for(node: &Node) -> usize {
    node.server.state().foreign_asked_for
}

async fn started(node: &Node) -> (Running, plastron_agent_core::Subscription) {
    let agent = node.start();
    let workload = agent.subscribe(&["unix:uid:1"]);
    (agent, workload)
}

#[tokio::test(start_paused = true)]
async fn a_foreign_bundle_that_changes_or_goes_reaches_workloads_at_once_and_alone_is_fetched() {
    let node = federated(3);
    let (agent, mut workload) = started(&node).await;
    let first = identities(&mut workload).await;
    assert_eq!(first.federated_bundles.len(), 3, "a workload that asks once gets them too");
    assert_eq!(asked_for(&node), 3);
    pass(30).await;
    let mut delegate = agent.identities.subscribe_bundles();
    delegate.next().await.unwrap();

    let (asked, began) = (asked_for(&node), Instant::now());
    let changed = set(&node, 1);
    let update = identities(&mut workload).await;
    assert_eq!(*update.federated_bundles[&foreign(1)], changed);
    assert_eq!(*delegate.next().await.unwrap().federated_bundles[&foreign(1)], changed);
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    assert_eq!(asked_for(&node), asked + 1, "only what changed");

    let began = Instant::now();
    node.server.state().foreign.remove(&foreign(2));
    node.server.push();
    let update = identities(&mut workload).await;
    assert!(!update.federated_bundles.contains_key(&foreign(2)) && update.federated_bundles.len() == 2);
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    assert_eq!(asked_for(&node), asked + 2);
}

/// Streams end all the time, with every SVID of the agent for one, and each begins with all names.
#[tokio::test(start_paused = true)]
async fn the_names_of_the_next_stream_have_nothing_fetched_that_is_held() {
    let node = federated(20);
    node.server.state().agent_ttl = 60;
    let (_agent, mut workload) = started(&node).await;
    assert_eq!(identities(&mut workload).await.federated_bundles.len(), 20);
    pass(5).await;
    let (asked, watches) = (asked_for(&node), node.server.state().watches);
    assert_eq!((asked, watches), (20, 1));
    // Shorter than the safety net.
    pass(40).await;
    assert!(node.server.state().watches > watches);
    assert_eq!(asked_for(&node), asked, "neither for another stream nor for its absence of a moment");
    let changed = set(&node, 7);
    assert_eq!(*identities(&mut workload).await.federated_bundles[&foreign(7)], changed);
    assert_eq!(asked_for(&node), asked + 1);
}

/// What a push that was lost would cost: the safety net brings it.
#[tokio::test(start_paused = true)]
async fn a_foreign_bundle_whose_push_was_lost_comes_with_the_safety_net() {
    let node = federated(1);
    let (_agent, mut workload) = started(&node).await;
    identities(&mut workload).await;
    pass(20).await;
    node.server.state().watch = WatchService::Mute;
    let began = Instant::now();
    let changed = set(&node, 0);
    assert_eq!(*identities(&mut workload).await.federated_bundles[&foreign(0)], changed);
    assert!((30..80).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// What can't be fetched is asked for again soon, and less and less often.
#[tokio::test(start_paused = true)]
async fn a_foreign_bundle_that_could_not_be_fetched_is_asked_for_again() {
    let node = federated(2);
    let (_agent, mut workload) = started(&node).await;
    identities(&mut workload).await;
    node.server.state().foreign_fails = true;
    let (changed, asked) = (set(&node, 1), asked_for(&node));
    silence(&mut workload, 600).await;
    let tries = asked_for(&node) - asked;
    assert!((20..=40).contains(&tries), "{tries} tries in ten minutes, of two domains");
    node.server.state().foreign_fails = false;
    let began = Instant::now();
    assert_eq!(*identities(&mut workload).await.federated_bundles[&foreign(1)], changed);
    assert!(began.elapsed() < Duration::from_secs(80), "{:?}", began.elapsed());
}

/// Thirty domains of which no answer comes took a minute and a half from every synchronisation, and from every renewal.
#[tokio::test(start_paused = true)]
async fn what_is_foreign_and_hangs_delays_nothing_of_our_own() {
    let node = federated(30);
    node.server.state().foreign_hangs = true;
    let (agent, mut workload) = started(&node).await;
    let began = Instant::now();
    assert!(agent.identities.synchronised().await);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(node.server.state().issued, 1, "signed before any foreign bundle was there");
    assert_eq!(identities(&mut workload).await.identities.len(), 1);
    let waited = began.elapsed();
    assert_eq!(waited.as_secs(), 5, "a first value waits a moment, and no longer: {waited:?}");

    pass(2).await;
    let began = Instant::now();
    node.server.add_entry("two", "/two", &["unix:uid:1"]);
    node.server.push();
    assert_eq!(identities(&mut workload).await.identities.len(), 2);
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());

    node.server.state().foreign_hangs = false;
    loop {
        let update = identities(&mut workload).await;
        assert_eq!(update.identities.len(), 2);
        if update.federated_bundles.len() == 30 {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
}
