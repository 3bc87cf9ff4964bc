//! JWT-SVIDs: who gets one, how often the server is asked, and when a kept one is no longer handed out.

use std::sync::Arc;
use std::time::Duration;

use plastron_agent_core::jwt::{Audience, JwtSvidError, JwtSvids, JwtToken};
use plastron_agent_core::upstream::{AgentDenial, AuthorizedEntry, JwtSvidReply, UpstreamError};
use plastron_agent_core::{Readiness, WorkloadIdentities};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::UnverifiedJwt;
use tokio::time::Instant;

use crate::jwt_authority::SigningKey;
use crate::{Node, Running, pass};

fn audience(values: &[&str]) -> Audience {
    Audience::parse(values.iter().map(|value| (*value).to_owned())).unwrap()
}

impl Running {
    async fn entry(&self, selector: &str) -> Arc<AuthorizedEntry> {
        let selectors = [plastron_spiffe::Selector::parse(selector).unwrap()].into();
        self.jwt.entries(&selectors).await.into_iter().next().unwrap()
    }

    async fn token(&self, selector: &str, values: &[&str]) -> Result<Arc<JwtToken>, Arc<JwtSvidError>> {
        let entry = self.entry(selector).await;
        self.jwt.fetch(&entry, &audience(values)).await
    }
}

/// A node with one entry, `/web` for `unix:uid:1`.
async fn node() -> (Node, Running) {
    let node = Node::new();
    node.server.add_entry("web", "/web", &["unix:uid:1"]);
    let agent = node.start();
    assert!(agent.identities.synchronised().await);
    // The X.509-SVID is signed by then, and of no concern here.
    pass(1).await;
    (node, agent)
}

fn calls(node: &Node) -> usize {
    node.server.state().jwt.calls.len()
}

fn unavailable() -> UpstreamError {
    UpstreamError::Unavailable { server: "fake".to_owned(), reason: "busy".to_owned() }
}

fn status(code: &str) -> UpstreamError {
    UpstreamError::Status { rpc: "NewJWTSVID", code: code.to_owned(), message: "no".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_workload_gets_a_token_of_its_entry_for_the_audience_it_names() {
    let (node, agent) = node().await;
    let token = agent.token("unix:uid:1", &["b", "a", "b"]).await.unwrap();
    let jwt = UnverifiedJwt::parse(token.reveal()).unwrap();
    assert_eq!(jwt.claimed_id().as_str(), "spiffe://example.org/web");
    assert_eq!(jwt.claimed_audience(), ["a", "b"]);
    assert_eq!(token.expires_at(), node.clock.seconds() + 300);
    assert_eq!(node.server.state().jwt.calls, [("web".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    let stranger = [plastron_spiffe::Selector::parse("unix:uid:2").unwrap()].into();
    assert!(agent.jwt.entries(&stranger).await.is_empty());
}

/// Threat 34: a token is a secret for as long as it lasts.
#[tokio::test(start_paused = true)]
async fn a_token_is_in_nothing_that_is_printed() {
    let (_node, agent) = node().await;
    let token = agent.token("unix:uid:1", &["a"]).await.unwrap();
    let signature = token.reveal().rsplit_once('.').unwrap().1;
    assert!(!format!("{token:?}").contains(signature));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_reused_until_half_of_its_life_is_over() {
    let (node, agent) = node().await;
    let first = agent.token("unix:uid:1", &["a", "b"]).await.unwrap();
    pass(149).await;
    assert!(Arc::ptr_eq(&first, &agent.token("unix:uid:1", &["b", "a"]).await.unwrap()));
    assert_eq!(calls(&node), 1);
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(calls(&node), 2, "another audience is another token");
    pass(2).await;
    let second = agent.token("unix:uid:1", &["a", "b"]).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(calls(&node), 3);
}

#[tokio::test(start_paused = true)]
async fn one_hundred_who_want_the_same_token_make_one_call() {
    let (node, agent) = node().await;
    node.server.state().jwt.delay = Duration::from_secs(3);
    let entry = agent.entry("unix:uid:1").await;
    let mut callers = Vec::new();
    for _ in 0..100 {
        let (jwt, entry) = (agent.jwt.clone(), Arc::clone(&entry));
        callers.push(tokio::spawn(async move { jwt.fetch(&entry, &audience(&["a"])).await }));
    }
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap().unwrap());
    }
    assert!(tokens.iter().all(|token| Arc::ptr_eq(token, &tokens[0])));
    assert_eq!(calls(&node), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_cancels_nothing_for_the_others() {
    let (node, agent) = node().await;
    node.server.state().jwt.delay = Duration::from_secs(3);
    let entry = agent.entry("unix:uid:1").await;
    let fetch = |jwt: JwtSvids, entry: Arc<AuthorizedEntry>| async move { jwt.fetch(&entry, &audience(&["a"])).await };
    let first = tokio::spawn(fetch(agent.jwt.clone(), Arc::clone(&entry)));
    pass(1).await;
    let second = tokio::spawn(fetch(agent.jwt.clone(), Arc::clone(&entry)));
    pass(1).await;
    first.abort();
    let begun = Instant::now();
    second.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the first one's call went on");
    assert_eq!(calls(&node), 1);

    // Nobody waits at all: the token is there for the next who comes.
    let lonely = tokio::spawn(async move { fetch(agent.jwt.clone(), entry).await.map(|_| agent) });
    assert!(lonely.await.unwrap().is_ok());
    assert_eq!(calls(&node), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_fails_all_who_waited_and_is_tried_again_by_the_next() {
    let (node, agent) = node().await;
    {
        let mut state = node.server.state();
        state.jwt.delay = Duration::from_secs(1);
        state.jwt.failures.push_back(UpstreamError::InvalidArgument { rpc: "NewJWTSVID", message: "no".to_owned() });
    }
    let entry = agent.entry("unix:uid:1").await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        let (jwt, entry) = (agent.jwt.clone(), Arc::clone(&entry));
        callers.push(tokio::spawn(async move { jwt.fetch(&entry, &audience(&["a"])).await }));
    }
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(matches!(*error, JwtSvidError::Upstream(UpstreamError::InvalidArgument { .. })), "{error}");
    }
    assert_eq!(calls(&node), 1);
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(calls(&node), 2);
}

/// SPIRE retries all codes but five, for 30 s.
#[tokio::test(start_paused = true)]
async fn what_may_heal_is_tried_again_and_what_may_not_is_not() {
    let (node, agent) = node().await;
    let exhausted = || UpstreamError::ResourceExhausted { rpc: "NewJWTSVID", message: "later".to_owned() };
    let denied = || UpstreamError::PermissionDenied { message: "no".to_owned() };
    for (n, error) in [unavailable(), exhausted(), denied(), status("NotFound"), status("Internal"), status("Aborted")]
        .into_iter()
        .enumerate()
    {
        node.server.state().jwt.failures.push_back(error);
        let before = calls(&node);
        agent.token("unix:uid:1", &[&format!("heals-{n}")]).await.unwrap();
        assert_eq!(calls(&node) - before, 2, "{n}");
    }
    let timed_out = UpstreamError::DeadlineExceeded { rpc: "NewJWTSVID", seconds: 30 };
    let malformed = UpstreamError::MalformedReply { rpc: "NewJWTSVID", reason: "x".to_owned() };
    let invalid = UpstreamError::InvalidArgument { rpc: "NewJWTSVID", message: "no".to_owned() };
    let unimplemented = UpstreamError::Unimplemented { rpc: "NewJWTSVID", message: "no".to_owned() };
    let codes = ["Unknown", "Cancelled", "DeadlineExceeded"].map(status);
    for (n, error) in codes.into_iter().chain([timed_out, malformed, invalid, unimplemented]).enumerate() {
        node.server.state().jwt.failures.push_back(error);
        let before = calls(&node);
        agent.token("unix:uid:1", &[&format!("stays-{n}")]).await.unwrap_err();
        assert_eq!(calls(&node) - before, 1, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_given_thirty_seconds() {
    let (node, agent) = node().await;
    node.server.state().away = true;
    let begun = Instant::now();
    let error = agent.token("unix:uid:1", &["a"]).await.unwrap_err();
    assert!(matches!(*error, JwtSvidError::Upstream(UpstreamError::Unavailable { .. })), "{error}");
    assert!((15..=30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!((3..10).contains(&calls(&node)), "{}", calls(&node));

    // One that hangs is not waited for longer either.
    node.server.state().away = false;
    node.server.state().jwt.delay = Duration::from_secs(3600);
    let begun = Instant::now();
    agent.token("unix:uid:1", &["a"]).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_away_a_token_serves_until_it_expires() {
    let (node, agent) = node().await;
    let first = agent.token("unix:uid:1", &["a"]).await.unwrap();
    pass(200).await;
    node.server.state().away = true;
    let begun = Instant::now();
    assert!(Arc::ptr_eq(&first, &agent.token("unix:uid:1", &["a"]).await.unwrap()));
    assert!(begun.elapsed() <= Duration::from_secs(5), "with a token at hand nobody waits long: {:?}", begun.elapsed());
    let before = calls(&node);
    let begun = Instant::now();
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "and the next one not at all");
    assert_eq!(calls(&node), before);
    pass(100).await;
    agent.token("unix:uid:1", &["a"]).await.unwrap_err();
    node.server.state().away = false;
    assert!(!Arc::ptr_eq(&first, &agent.token("unix:uid:1", &["a"]).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn tokens_with_a_jti_are_never_kept_nor_shared() {
    let (node, agent) = node().await;
    {
        let mut state = node.server.state();
        let entry = state.entries.get_mut("web").unwrap();
        (entry.jwt_svid_include_jti, entry.revision) = (true, 1);
        state.jwt.delay = Duration::from_secs(1);
    }
    pass(10).await;
    let entry = agent.entry("unix:uid:1").await;
    let a = audience(&["a"]);
    let (one, other) = tokio::join!(agent.jwt.fetch(&entry, &a), agent.jwt.fetch(&entry, &a));
    let third = agent.jwt.fetch(&entry, &a).await.unwrap();
    let jti = |token: &JwtToken| UnverifiedJwt::parse(token.reveal()).unwrap().claimed_jti().unwrap().to_owned();
    let mut all = vec![jti(&one.unwrap()), jti(&other.unwrap()), jti(&third)];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3);
    assert_eq!(calls(&node), 3);
    node.server.state().jwt.with_jti = false;
    let error = agent.jwt.fetch(&entry, &audience(&["a"])).await.unwrap_err();
    assert!(matches!(*error, JwtSvidError::Issued(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_tainted_authority_takes_its_tokens_with_it() {
    let (node, agent) = node().await;
    let first = agent.token("unix:uid:1", &["a"]).await.unwrap();
    let next = SigningKey::new("second");
    {
        let mut state = node.server.state();
        state.bundle.jwt_authorities[0].tainted = true;
        state.bundle.jwt_authorities.push(next.authority());
        state.bundle.sequence_number += 1;
        state.jwt.key = next;
    }
    pass(10).await;
    let second = agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(UnverifiedJwt::parse(second.reveal()).unwrap().claimed_key_id(), "second");
    assert_eq!(calls(&node), 2);

    // Revoked at once, with the server's next word: withdrawn, and no old token is fallen back on.
    {
        let mut state = node.server.state();
        state.bundle.jwt_authorities.retain(|authority| authority.key_id != "second");
        state.bundle.sequence_number += 1;
    }
    pass(10).await;
    node.server.state().away = true;
    agent.token("unix:uid:1", &["a"]).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_tainted_authority_signed_is_not_taken() {
    let (node, agent) = node().await;
    {
        let mut state = node.server.state();
        state.bundle.jwt_authorities[0].tainted = true;
        state.bundle.sequence_number += 1;
    }
    pass(10).await;
    let error = agent.token("unix:uid:1", &["a"]).await.unwrap_err();
    assert!(matches!(*error, JwtSvidError::Issued(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_the_agent_has_not_heard_of_is_no_obstacle() {
    let (node, agent) = node().await;
    node.server.state().jwt.key = SigningKey::new("brand-new");
    let first = agent.token("unix:uid:1", &["a"]).await.unwrap();
    {
        let mut state = node.server.state();
        let authority = state.jwt.key.authority();
        state.bundle.jwt_authorities.push(authority);
        state.bundle.sequence_number += 1;
    }
    pass(10).await;
    assert!(Arc::ptr_eq(&first, &agent.token("unix:uid:1", &["a"]).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_goes_or_changes_takes_its_tokens_with_it() {
    let (node, agent) = node().await;
    let old = agent.entry("unix:uid:1").await;
    agent.jwt.fetch(&old, &audience(&["a"])).await.unwrap();
    {
        let mut state = node.server.state();
        let entry = state.entries.get_mut("web").unwrap();
        entry.spiffe_id = SpiffeId::parse("spiffe://example.org/other").unwrap();
        entry.revision = 1;
    }
    pass(10).await;
    let error = agent.jwt.fetch(&old, &audience(&["a"])).await.unwrap_err();
    assert!(matches!(*error, JwtSvidError::EntryGone), "{error}");
    let token = agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(UnverifiedJwt::parse(token.reveal()).unwrap().claimed_id().path(), "/other");

    let current = agent.entry("unix:uid:1").await;
    node.server.state().entries.clear();
    pass(10).await;
    let error = agent.jwt.fetch(&current, &audience(&["a"])).await.unwrap_err();
    assert!(matches!(*error, JwtSvidError::EntryGone), "{error}");
    // It comes back as it was: the old token does not.
    node.server.add_entry("web", "/other", &["unix:uid:1"]);
    pass(10).await;
    let before = calls(&node);
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(calls(&node), before + 1);
}

/// An entry that is removed while its token is under way.
#[tokio::test(start_paused = true)]
async fn a_token_of_an_entry_that_is_gone_is_handed_to_nobody() {
    let (node, agent) = node().await;
    node.server.state().jwt.delay = Duration::from_secs(20);
    let entry = agent.entry("unix:uid:1").await;
    let jwt = agent.jwt.clone();
    let waiting = tokio::spawn(async move { jwt.fetch(&entry, &audience(&["a"])).await });
    pass(1).await;
    {
        // The server has answered by then; only the agent learns of the removal.
        let mut state = node.server.state();
        let entry = state.entries.get_mut("web").unwrap();
        entry.revision = 1;
    }
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(*error, JwtSvidError::EntryGone), "{error}");
}

/// The server refuses the entry, and by the time that it is asked again the agent knows why.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_gone_is_not_asked_for_again() {
    let (node, agent) = node().await;
    node.server.state().jwt.failures.extend((0..30).map(|_| status("NotFound")));
    let entry = agent.entry("unix:uid:1").await;
    let jwt = agent.jwt.clone();
    let waiting = tokio::spawn(async move { jwt.fetch(&entry, &audience(&["a"])).await });
    node.server.state().entries.clear();
    let begun = Instant::now();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(*error, JwtSvidError::EntryGone), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}

/// Who comes with the changed entry gets its token, and not the refusal of those who came with the old one.
#[tokio::test(start_paused = true)]
async fn a_changed_entry_does_not_wait_for_the_call_of_the_old_one() {
    let (node, agent) = node().await;
    node.server.state().jwt.delay = Duration::from_secs(20);
    let old = agent.entry("unix:uid:1").await;
    let jwt = agent.jwt.clone();
    let outdated = tokio::spawn(async move { jwt.fetch(&old, &audience(&["a"])).await });
    pass(1).await;
    {
        let mut state = node.server.state();
        let entry = state.entries.get_mut("web").unwrap();
        (entry.hint, entry.revision) = ("new".to_owned(), 1);
    }
    pass(10).await;
    let (one, other) = tokio::join!(agent.token("unix:uid:1", &["a"]), agent.token("unix:uid:1", &["a"]));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(Arc::ptr_eq(&one, &other), "those who come with the same entry still share a call");
    let error = outdated.await.unwrap().unwrap_err();
    assert!(matches!(*error, JwtSvidError::EntryGone), "{error}");
    assert_eq!(calls(&node), 2);
    assert!(Arc::ptr_eq(&one, &agent.token("unix:uid:1", &["a"]).await.unwrap()));
}

/// Threat 59
#[tokio::test(start_paused = true)]
async fn no_more_tokens_are_kept_than_the_cache_allows() {
    let mut node = Node::new();
    node.jwt_capacity = 3;
    node.server.add_entry("web", "/web", &["unix:uid:1"]);
    let agent = node.start();
    for value in ["a", "b", "c", "a", "d"] {
        agent.token("unix:uid:1", &[value]).await.unwrap();
    }
    assert_eq!(calls(&node), 4);
    for (value, expected) in [("a", 4), ("c", 4), ("d", 4), ("b", 5), ("a", 6)] {
        agent.token("unix:uid:1", &[value]).await.unwrap();
        assert_eq!(calls(&node), expected, "{value}");
    }
}

/// Threat 59: a workload that asks for ever new audiences while the server hangs takes a bounded part of the agent, and not the part of others.
#[tokio::test(start_paused = true)]
async fn one_entry_has_a_bounded_number_of_calls_under_way() {
    let (node, agent) = node().await;
    node.server.add_entry("other", "/other", &["unix:uid:2"]);
    pass(10).await;
    node.server.state().jwt.delay = Duration::from_secs(20);
    let (greedy, other) = (agent.entry("unix:uid:1").await, agent.entry("unix:uid:2").await);
    let mut callers = Vec::new();
    for n in 0..100 {
        let (jwt, entry) = (agent.jwt.clone(), Arc::clone(&greedy));
        callers.push(tokio::spawn(async move { jwt.fetch(&entry, &audience(&[&n.to_string()])).await }));
    }
    pass(1).await;
    let jwt = agent.jwt.clone();
    let polite = tokio::spawn(async move { jwt.fetch(&other, &audience(&["a"])).await });
    let mut refused = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => {}
            Err(error) if matches!(*error, JwtSvidError::Busy) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 100 - 64);
    polite.await.unwrap().unwrap();
    // The calls are over: there is room again.
    node.server.state().jwt.delay = Duration::ZERO;
    agent.token("unix:uid:1", &["later"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_shut_out_issues_nothing_and_hands_out_nothing() {
    let (node, agent) = node().await;
    let entry = agent.entry("unix:uid:1").await;
    agent.jwt.fetch(&entry, &audience(&["a"])).await.unwrap();
    {
        let mut state = node.server.state();
        state.denial = Some(AgentDenial::NotAttested);
        state.attest_refusal = Some(crate::fake_server::Refusal::Denied);
    }
    until_cut_off(&agent.identities).await;
    let before = calls(&node);
    for value in ["a", "b"] {
        let error = agent.jwt.fetch(&entry, &audience(&[value])).await.unwrap_err();
        assert!(matches!(*error, JwtSvidError::CutOff), "{error}");
    }
    assert_eq!(calls(&node), before);
    let selectors = [plastron_spiffe::Selector::parse("unix:uid:1").unwrap()].into();
    assert!(agent.jwt.entries(&selectors).await.is_empty());
}

/// What was under way when the server shut the node out is not handed out.
#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_the_nodes_standing_brings_nothing() {
    let (node, agent) = node().await;
    let entry = agent.entry("unix:uid:1").await;
    node.server.state().jwt.delay = Duration::from_secs(29);
    let jwt = agent.jwt.clone();
    let waiting = tokio::spawn(async move { jwt.fetch(&entry, &audience(&["a"])).await });
    pass(1).await;
    {
        let mut state = node.server.state();
        state.denial = Some(AgentDenial::NotAttested);
        state.attest_refusal = Some(crate::fake_server::Refusal::Denied);
    }
    until_cut_off(&agent.identities).await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(*error, JwtSvidError::CutOff), "{error}");
}

async fn until_cut_off(identities: &WorkloadIdentities) {
    for _ in 0..600 {
        if identities.readiness() == Readiness::CutOff {
            return;
        }
        pass(1).await;
    }
    panic!("not cut off");
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_comes_with_a_token_request_is_heard() {
    let (node, agent) = node().await;
    let denied = |reason| UpstreamError::AgentDenied { reason, message: "no".to_owned() };
    let attestations = node.server.state().attestations;
    node.server.state().jwt.failures.push_back(denied(AgentDenial::NotActive));
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(node.server.state().attestations, attestations + 1, "the agent attested again");

    node.server.state().jwt.failures.push_back(denied(AgentDenial::Banned));
    agent.token("unix:uid:1", &["b"]).await.unwrap_err();
    assert!(matches!(agent.ended().await, plastron_agent_core::AgentError::Banned { .. }));
}

#[tokio::test(start_paused = true)]
async fn callers_hear_that_the_agent_ends() {
    let (node, agent) = node().await;
    node.server.state().jwt.delay = Duration::from_secs(20);
    let entry = agent.entry("unix:uid:1").await;
    let jwt = agent.jwt.clone();
    let task = tokio::spawn({
        let (jwt, entry) = (jwt.clone(), Arc::clone(&entry));
        async move { jwt.fetch(&entry, &audience(&["a"])).await }
    });
    pass(1).await;
    agent.kill().await;
    assert!(matches!(*task.await.unwrap().unwrap_err(), JwtSvidError::ShuttingDown));
    assert!(matches!(*jwt.fetch(&entry, &audience(&["b"])).await.unwrap_err(), JwtSvidError::ShuttingDown));
}

/// What a server could send in place of what was asked for: none of it reaches a workload, and none of it is kept.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_what_was_asked_for_is_not_taken() {
    let (node, agent) = node().await;
    let spoils: [(&str, Spoil); 10] = [
        ("not a token", |reply| reply.token = "token".to_owned()),
        ("no signature", |reply| reply.token.truncate(reply.token.rfind('.').unwrap())),
        ("another ID in the token", |reply| resign(reply, "spiffe://example.org/root", &["a"], 0, 300)),
        ("another ID in the message", |reply| reply.spiffe_id = SpiffeId::parse("spiffe://example.org/root").unwrap()),
        ("another domain", |reply| resign(reply, "spiffe://other.test/web", &["a"], 0, 300)),
        ("another audience", |reply| resign(reply, "spiffe://example.org/web", &["b"], 0, 300)),
        ("more audience", |reply| resign(reply, "spiffe://example.org/web", &["a", "b"], 0, 300)),
        ("expired", |reply| resign(reply, "spiffe://example.org/web", &["a"], -300, 0)),
        ("expired by the message", |reply| reply.expires_at = reply.issued_at),
        ("issued after its expiry", |reply| reply.issued_at = reply.expires_at + 1),
    ];
    for (name, spoil) in spoils {
        node.server.state().jwt.spoil = Some(spoil);
        let error = agent.token("unix:uid:1", &["a"]).await.unwrap_err();
        assert!(matches!(*error, JwtSvidError::Issued(_)), "{name}: {error}");
    }
    node.server.state().jwt.spoil = None;
    let before = calls(&node);
    agent.token("unix:uid:1", &["a"]).await.unwrap();
    assert_eq!(calls(&node), before + 1);
}

/// How a reply is changed.
type Spoil = fn(&mut JwtSvidReply);

/// Another token in the place of this one, with times relative to its own.
fn resign(reply: &mut JwtSvidReply, id: &str, values: &[&str], from: i64, until: i64) {
    let at = |offset: i64| reply.issued_at.checked_add_signed(offset).unwrap();
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    reply.token = SigningKey::new("any").sign(id, &values, at(from), at(until), None);
}
