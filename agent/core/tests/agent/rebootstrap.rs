//! A server that is no longer one that the agent's bundle leads to: it lost its CA, or somebody poses as it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_agent_core::{
    AgentError, BootstrapAttempt, BootstrapError, BootstrapReason, BootstrapSource, DEFAULT_REBOOTSTRAP_DELAY,
    Rebootstrap, RebootstrapMode, WorkloadUpdate,
};
use plastron_spiffe::Bundle;
use plastron_spiffe::x509::{Purpose, verify_chain};
use tokio::time::Instant;

use crate::authority::at;
use crate::{Node, identities, pass, silence};

/// Says what the test says, and remembers what it was asked.
#[derive(Debug)]
struct Source {
    says: Mutex<Option<Bundle>>,
    asked: Mutex<Vec<BootstrapAttempt>>,
}

#[async_trait::async_trait]
impl BootstrapSource for Source {
    async fn bundle(&self, attempt: BootstrapAttempt) -> Result<Bundle, BootstrapError> {
        self.asked.lock().unwrap().push(attempt);
        self.says.lock().unwrap().clone().ok_or_else(|| BootstrapError("nothing yet".into()))
    }
}

impl Source {
    fn says(&self, bundle: Option<Bundle>) {
        *self.says.lock().unwrap() = bundle;
    }

    fn asked(&self) -> Vec<BootstrapAttempt> {
        self.asked.lock().unwrap().clone()
    }
}

/// A node that follows its source in this mode, with one workload.
fn node(mode: RebootstrapMode) -> (Node, Arc<Source>) {
    let mut node = Node::new();
    let says = Mutex::new(Some(node.server.state().authority.bundle()));
    let source = Arc::new(Source { says, asked: Mutex::default() });
    node.source = Some(Arc::clone(&source) as Arc<dyn BootstrapSource>);
    node.rebootstrap = Rebootstrap { mode, delay: DEFAULT_REBOOTSTRAP_DELAY };
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    (node, source)
}

fn leads_to(update: &WorkloadUpdate, bundle: &Bundle, now: u64) -> bool {
    let verified = |svid| verify_chain(svid, bundle, Purpose::Any, at(now)).is_ok();
    !update.identities.is_empty() && update.identities.iter().all(|one| verified(one.svid.as_ref().clone()))
}

/// Threat 63
#[tokio::test(start_paused = true)]
async fn never_is_the_default_and_asks_nobody_again() {
    assert_eq!(Rebootstrap::default().mode, RebootstrapMode::Never);
    let (node, source) = node(Rebootstrap::default().mode);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let before = identities(&mut workload).await;
    assert_eq!(source.asked().len(), 1);
    node.server.lose_ca();
    source.says(Some(node.server.state().authority.bundle()));
    silence(&mut workload, 1200).await;
    assert_eq!((source.asked().len(), node.server.state().issued), (1, 1), "{before:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_delay_and_not_before_the_source_counts_again() {
    for mode in [RebootstrapMode::Auto, RebootstrapMode::Always] {
        let (node, source) = node(mode);
        let agent = node.start();
        let mut workload = agent.subscribe(&["unix:uid:1"]);
        identities(&mut workload).await;
        let attestations = node.server.state().attestations;
        node.server.lose_ca();
        let lost_at = Instant::now();
        let new = node.server.state().authority.bundle();
        source.says(Some(new.clone()));
        silence(&mut workload, 590).await;
        assert_eq!(source.asked().len(), 1, "{mode:?}");

        // The same entry, of which the server says that nothing changed: its SVID leads nowhere any more.
        let mut update = identities(&mut workload).await;
        while !leads_to(&update, &new, node.clock.seconds()) {
            update = identities(&mut workload).await;
        }
        assert_eq!(update.bundle.x509_authorities, new.x509_authorities);
        // Long before half of its life is over, which would have replaced it as well.
        assert!(lost_at.elapsed() < Duration::from_secs(800), "{:?}", lost_at.elapsed());
        let [_, again] = source.asked()[..] else { panic!("{:?}", source.asked()) };
        assert_eq!((again.reason, again.number), (BootstrapReason::Rebootstrap, 1));
        assert_eq!(node.server.state().attestations, attestations + 1);
        // It is an agent like any other from then on, also after a restart.
        agent.kill().await;
        let agent = node.start();
        identities(&mut agent.subscribe(&["unix:uid:1"])).await;
        pass(7200).await;
        assert_eq!(source.asked().len(), 2);
    }
}

/// A server that answers in between was never lost.
#[tokio::test(start_paused = true)]
async fn one_answer_of_the_server_starts_the_delay_anew() {
    let (node, source) = node(RebootstrapMode::Always);
    let agent = node.start();
    identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    for _ in 0..4 {
        let (authority, bundle) = node.server.lose_ca();
        pass(400).await;
        {
            let mut state = node.server.state();
            (state.authority, state.bundle) = (authority, bundle);
        }
        pass(120).await;
    }
    assert_eq!(source.asked().len(), 1, "{:?}", source.asked());
}

/// Who poses as the server, and is not whom the source names, gets the agent to ask its source, and nothing else.
///
/// Threat 63
#[tokio::test(start_paused = true)]
async fn an_impostor_costs_the_agent_nothing_but_questions() {
    let (node, source) = node(RebootstrapMode::Always);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    let attestations = node.server.state().agent_keys.len();
    let (authority, bundle) = node.server.lose_ca();
    silence(&mut workload, 1200).await;
    let asked = source.asked().len();
    assert!((4..=30).contains(&asked), "{asked}");
    assert_eq!(node.server.state().agent_keys.len(), attestations, "the impostor was shown a CSR");
    source.says(None);
    silence(&mut workload, 120).await;

    {
        let mut state = node.server.state();
        (state.authority, state.bundle) = (authority, bundle);
        state.entries.clear();
    }
    node.server.add_entry("two", "/two", &["unix:uid:1"]);
    assert_eq!(identities(&mut workload).await.identities[0].spiffe_id.path(), "/two");
    pass(1200).await;
    assert!(source.asked().len() <= asked + 4, "{:?}", source.asked());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_can_not_attest_again_goes_on_without_or_ends() {
    let (node_auto, source) = node(RebootstrapMode::Auto);
    node_auto.server.state().reattestable = false;
    let agent = node_auto.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    node_auto.server.lose_ca();
    silence(&mut workload, 1200).await;
    assert_eq!(source.asked().len(), 1);

    let (node_always, _) = node(RebootstrapMode::Always);
    node_always.server.state().reattestable = false;
    for _ in 0..2 {
        let ended = node_always.start().ended().await;
        assert!(matches!(ended, AgentError::CanNotRebootstrap { .. }), "{ended:?}");
    }
    assert_eq!(node_always.server.state().attestations, 1, "the second time it is known beforehand");
}

/// It was off while the server was set up anew, and its SVID has expired.
#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_waits_for_the_delay_too() {
    let (node, source) = node(RebootstrapMode::Auto);
    let agent = node.start();
    identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    agent.kill().await;
    pass(7200).await;
    node.server.lose_ca();
    source.says(Some(node.server.state().authority.bundle()));
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    silence(&mut workload, 590).await;
    assert_eq!(source.asked().len(), 1);
    identities(&mut workload).await;
    assert_eq!(source.asked()[1].reason, BootstrapReason::Rebootstrap);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_late_is_asked_anew_for_each_attempt() {
    let (node, source) = node(RebootstrapMode::Never);
    let good = node.server.state().authority.bundle();
    source.says(None);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    silence(&mut workload, 60).await;
    assert_eq!(node.server.state().attestations, 0);
    source.says(Some(good));
    identities(&mut workload).await;
    let asked = source.asked();
    let numbers: Vec<u64> = asked.iter().map(|attempt| attempt.number).collect();
    assert!(asked.len() > 2);
    assert_eq!(numbers, (1..=u64::try_from(asked.len()).unwrap()).collect::<Vec<_>>());
    assert!(
        asked.iter().all(|attempt| (attempt.reason, attempt.since) == (BootstrapReason::Bootstrap, asked[0].since))
    );
}

/// Each attempt with a delay of nothing: what is held is tried first.
#[tokio::test(start_paused = true)]
async fn without_a_delay_the_source_is_asked_at_once() {
    let (mut node, source) = node(RebootstrapMode::Always);
    node.rebootstrap.delay = Duration::ZERO;
    let agent = node.start();
    identities(&mut agent.subscribe(&["unix:uid:1"])).await;
    node.server.lose_ca();
    source.says(Some(node.server.state().authority.bundle()));
    pass(15).await;
    assert_eq!(source.asked().len(), 2);
}
