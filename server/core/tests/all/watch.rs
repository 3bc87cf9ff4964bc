//! What connected agents are told, and what they acknowledge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_server_core::Services;
use plastron_server_core::authorization::{AgentDenial, Caller, Denied, rpc};
use plastron_server_core::store::DeleteMode;
use plastron_server_core::watch::{Acknowledged, Ended, Subscription, Update};
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain};
use tokio_util::sync::CancellationToken;

use crate::audit::{ThreadLog, audit};
use crate::fixture::{Disk, Server, entry, id, local};

/// Longer than any round takes to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for several rounds.
const SILENCE: Duration = Duration::from_millis(300);

struct Following {
    server: Server,
    cancelled: CancellationToken,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

async fn follow(disk: &Disk) -> Following {
    let (server, cancelled) = (disk.start().await.unwrap(), CancellationToken::new());
    let (services, stop) = (Arc::clone(&server.services), cancelled.clone());
    tokio::spawn(async move { services.watchers.follow(stop).await });
    Following { server, cancelled }
}

impl Following {
    fn services(&self) -> &Services {
        &self.server.services
    }

    async fn subscribe(&self, agent: &Caller, has: u64) -> Subscription {
        let permit = self.server.permit::<rpc::WatchSubscribe>(agent).await;
        self.services().watchers.subscribe(&permit, has)
    }

    /// One more authority; the sequence number of the bundle that has it.
    async fn publish(&self, key_id: &str) -> u64 {
        let permit = self.server.permit::<rpc::AppendBundle>(&local()).await;
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap());
        let authority = JwtAuthority { key_id: key_id.to_owned(), public_key, expires_at: 0, tainted: false };
        self.services().bundles.append(permit, Vec::new(), vec![authority]).await.unwrap().sequence_number
    }

    async fn set_foreign(&self, domain: &TrustDomain, sequence_number: u64) {
        let permit = self.server.permit::<rpc::BatchSetFederatedBundle>(&local()).await;
        let bundle = Bundle { sequence_number, ..Bundle::empty(domain.clone()) };
        self.services().federation.set_bundle(&permit, bundle).await.unwrap();
    }

    async fn may_watch(&self, agent: &Caller) -> Result<(), Denied> {
        self.services().authorizer.authorize::<rpc::WatchSubscribe>(agent).await.map(drop)
    }
}

async fn next(stream: &mut Subscription) -> Update {
    tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap()
}

async fn silent(stream: &mut Subscription) {
    let told = tokio::time::timeout(SILENCE, stream.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test]
async fn an_agent_hears_at_once_what_is_so_and_then_what_changes_for_it() {
    let following = follow(&Disk::new()).await;
    let (one, one_caller) = following.server.agent().await;
    let (_two, two_caller) = following.server.agent().await;
    let (mut first, mut second) =
        (following.subscribe(&one_caller, 0).await, following.subscribe(&two_caller, 0).await);
    let present = following.services().bundles.current();
    let names = [next(&mut first).await, next(&mut second).await].map(|update| {
        assert!(Arc::ptr_eq(update.bundle.as_ref().unwrap(), &present), "the bundle is shared, not copied");
        update.entries.unwrap()
    });
    // The agents' own admission is news of their standing, and of nothing else.
    while let Ok(told) = tokio::time::timeout(SILENCE, first.next()).await {
        assert!(told.unwrap().is_empty());
    }
    silent(&mut second).await;

    let created = following.server.create(vec![entry("/db", &one, &["unix:uid:1"])]).await;
    let update = next(&mut first).await;
    assert!(update.bundle.is_none());
    let with_entry = update.entries.unwrap();
    assert_ne!(with_entry, names[0]);
    silent(&mut second).await;

    // The same set has the same name again, on another stream too.
    drop(first);
    let mut first = following.subscribe(&one_caller, 0).await;
    assert_eq!(next(&mut first).await.entries, Some(with_entry));
    let permit = following.server.permit::<rpc::BatchDeleteEntry>(&local()).await;
    following.services().registration.delete(permit, vec![created[0].id.clone()]).await.unwrap();
    assert_eq!(next(&mut first).await.entries, Some(names[0]));

    let sequence = following.publish("key").await;
    for stream in [&mut first, &mut second] {
        let Update { bundle, entries, foreign: _ } = next(stream).await;
        assert_eq!((bundle.unwrap().sequence_number, entries), (sequence, None));
    }
}

#[tokio::test]
async fn an_agent_hears_of_the_foreign_bundles_that_its_entries_federate_with_and_of_no_others() {
    let following = follow(&Disk::new()).await;
    let (one, one_caller) = following.server.agent().await;
    let (_two, two_caller) = following.server.agent().await;
    let domains = ["a.test", "b.test", "c.test"].map(|name| TrustDomain::parse(name).unwrap());
    let [a, b, c] = &domains;
    for domain in &domains {
        following.set_foreign(domain, 1).await;
    }
    let mut federated = entry("/db", &one, &["unix:uid:1"]);
    federated.federates_with = vec![a.clone(), b.clone()];
    following.server.create(vec![federated]).await;
    tokio::time::sleep(SILENCE).await;
    let (mut first, mut second) =
        (following.subscribe(&one_caller, 0).await, following.subscribe(&two_caller, 0).await);
    let names = next(&mut first).await.foreign.unwrap();
    assert_eq!(names.keys().collect::<Vec<_>>(), [a, b]);
    assert!(names.values().all(Option::is_some) && names[a] != names[b]);
    assert!(next(&mut second).await.foreign.unwrap().is_empty(), "set, and of none");

    following.set_foreign(c, 2).await;
    silent(&mut first).await;
    following.set_foreign(b, 2).await;
    let Update { bundle, entries, foreign } = next(&mut first).await;
    assert!(bundle.is_none() && entries.is_none());
    let changed = foreign.unwrap();
    assert_eq!(changed.keys().collect::<Vec<_>>(), [b], "only what changed");
    assert_ne!(changed[b], names[b]);

    // The same content has the same name again, on another stream too, and after a restart.
    following.set_foreign(b, 1).await;
    assert_eq!(next(&mut first).await.foreign.unwrap()[b], names[b]);
    drop(first);
    let mut first = following.subscribe(&one_caller, 0).await;
    assert_eq!(next(&mut first).await.foreign.unwrap(), names);

    // A bundle that goes takes its domain from the entry, which is news of the entry alone.
    let permit = following.server.permit::<rpc::BatchDeleteFederatedBundle>(&local()).await;
    following.services().federation.delete_bundle(&permit, a.clone(), DeleteMode::Dissociate).await.unwrap();
    let Update { bundle: _, entries, foreign } = next(&mut first).await;
    assert_eq!((entries.is_some(), foreign), (true, None));
    silent(&mut second).await;
}

#[tokio::test]
async fn an_entry_that_many_share_is_told_to_them_one_after_another() {
    let following = follow(&Disk::new()).await;
    let mut agents = Vec::new();
    for _ in 0..20 {
        agents.push(following.server.agent().await);
    }
    // Every agent has an entry of its own for the same ID, so that they share what is below it.
    let shared = id("/shared");
    let parents = agents.iter().map(|(agent, _)| entry("/shared", agent, &["unix:uid:7"]));
    following.server.create(parents.collect()).await;
    let mut streams = Vec::new();
    for (_, caller) in &agents {
        let mut stream = following.subscribe(caller, 0).await;
        next(&mut stream).await;
        streams.push(stream);
    }
    tokio::time::sleep(SILENCE).await;
    for stream in &mut streams {
        while tokio::time::timeout(Duration::from_millis(1), stream.next()).await.is_ok() {}
    }
    let began = Instant::now();
    following.server.create(vec![entry("/below", &shared, &["unix:uid:8"])]).await;
    let mut last = Duration::ZERO;
    for stream in &mut streams {
        assert!(next(stream).await.entries.is_some());
        last = last.max(began.elapsed());
    }
    assert!(last >= Duration::from_millis(19), "twenty agents, a millisecond apart, in {last:?}");
}

/// Threat 27
#[tokio::test]
async fn a_banned_agent_is_woken_and_the_table_refuses_it() {
    let following = follow(&Disk::new()).await;
    let (agent, caller) = following.server.agent().await;
    let mut stream = following.subscribe(&caller, 0).await;
    next(&mut stream).await;
    let permit = following.server.permit::<rpc::BanAgent>(&local()).await;
    following.services().nodes.ban(permit, agent.clone()).await.unwrap();
    loop {
        assert!(next(&mut stream).await.is_empty());
        match following.may_watch(&caller).await {
            Err(Denied::Agent { reason: AgentDenial::Banned, .. }) => break,
            // The round of the admission came late.
            Ok(()) => {}
            Err(other) => unreachable!("{other}"),
        }
    }
}

/// Threat 48
#[tokio::test]
async fn a_late_agent_finds_the_latest_state_and_none_in_between() {
    let following = follow(&Disk::new()).await;
    let (agent, caller) = following.server.agent().await;
    let mut stream = following.subscribe(&caller, 0).await;
    next(&mut stream).await;
    let mut last = 0;
    for n in 0..50 {
        last = following.publish(&format!("key-{n}")).await;
        following.server.create(vec![entry(&format!("/{n}"), &agent, &["unix:uid:1"])]).await;
    }
    tokio::time::sleep(SILENCE).await;
    let Update { bundle, entries, foreign: _ } = next(&mut stream).await;
    assert_eq!((bundle.unwrap().sequence_number, entries.is_some()), (last, true));
    silent(&mut stream).await;
}

#[tokio::test]
async fn the_ca_learns_whose_workloads_have_a_bundle() {
    let following = follow(&Disk::new()).await;
    let watchers = &following.services().watchers;
    assert_eq!(watchers.wait_acknowledged(u64::MAX, PATIENCE).await, Acknowledged::default(), "no one is waited for");
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (agent, caller) = following.server.agent().await;
        streams.push((agent, following.subscribe(&caller, 0).await));
    }
    let sequence = following.publish("key").await;
    for (_, stream) in &streams[..2] {
        stream.acknowledge(sequence);
    }
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let acknowledged = watchers.wait_acknowledged(sequence, limit).await;
    assert!(began.elapsed() >= limit, "it waited for the third");
    assert_eq!(acknowledged, Acknowledged { of: 3, missing: vec![streams[2].0.clone()] });
    let line = format!("acknowledged by 2 of 3 connected agents, not by {}", streams[2].0);
    assert_eq!(acknowledged.to_string(), line);

    let (third, late) = (streams.pop().unwrap().1, Instant::now());
    let acknowledging = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A number that no bundle has yet is none that anyone can have.
        third.acknowledge(u64::MAX);
    };
    let (acknowledged, ()) = tokio::join!(watchers.wait_acknowledged(sequence, PATIENCE), acknowledging);
    assert_eq!((acknowledged.of, acknowledged.missing.len()), (3, 0));
    assert!(late.elapsed() < PATIENCE, "it ended as soon as all had it");
    let later = following.publish("another").await;
    assert_eq!(watchers.acknowledged(later).count(), 0, "the third does not have what came after");
}

#[tokio::test]
async fn an_agent_between_two_streams_is_still_waited_for_and_one_that_left_is_not() {
    let following = follow(&Disk::new()).await;
    let (agent, caller) = following.server.agent().await;
    let stream = following.subscribe(&caller, 0).await;
    drop(stream);
    let watchers = &following.services().watchers;
    assert_eq!(watchers.acknowledged(1), Acknowledged { of: 1, missing: vec![agent] });
    let resumed = following.subscribe(&caller, 1).await;
    assert_eq!(watchers.acknowledged(1), Acknowledged { of: 1, missing: Vec::new() }, "it says what it has");
    drop(resumed);
    tokio::time::sleep(Duration::from_millis(5100)).await;
    assert_eq!(watchers.acknowledged(1), Acknowledged::default());
}

/// Who can't attest again has no way back once the authority of its SVID is gone: the auditor sees whom that happened to.
#[tokio::test]
async fn a_revocation_counts_the_agents_that_it_cuts_off() {
    ThreadLog::record();
    let following = follow(&Disk::new()).await;
    let services = following.services();
    let authorities = &services.local_authorities;
    let slots = authorities.x509_state(following.server.permit::<rpc::GetX509AuthorityState>(&local()).await).unwrap();
    let old = slots.active.authority_id;
    let (late, late_caller) = following.server.agent().await;
    let _late = following.subscribe(&late_caller, u64::MAX).await;
    let permit = following.server.permit::<rpc::PrepareX509Authority>(&local()).await;
    let new = authorities.prepare_x509(permit).await.unwrap().authority_id;
    let permit = following.server.permit::<rpc::ActivateX509Authority>(&local()).await;
    authorities.activate_x509(permit, &new).await.unwrap();
    let (_other, other_caller) = following.server.agent().await;
    let _other = following.subscribe(&other_caller, u64::MAX).await;

    let line = |counted: &str| format!("authority {old}, {counted}");
    let counted = format!("1 of 2 connected agents still have SVIDs of it: {late}");
    let permit = following.server.permit::<rpc::RevokeX509Authority>(&local()).await;
    authorities.revoke_x509(permit, &old).await.unwrap_err();
    let refused = ThreadLog::take();
    assert_eq!(audit(&refused, "x509 authority revoke")[0]["subject"], line(&counted));
    assert!(warnings(&refused).is_empty(), "nothing was revoked");
    let permit = following.server.permit::<rpc::TaintX509Authority>(&local()).await;
    authorities.taint_x509(permit, &old).await.unwrap();
    let permit = following.server.permit::<rpc::RevokeX509Authority>(&local()).await;
    authorities.revoke_x509(permit, &old).await.unwrap();
    let revoked = ThreadLog::take();
    assert_eq!(audit(&revoked, "x509 authority revoke")[0]["subject"], line(&counted));
    let [warning] = warnings(&revoked)[..] else { unreachable!("one revocation, one warning") };
    assert_eq!((&warning["agents"], &warning["of"]), (&1.into(), &2.into()));
}

fn warnings(lines: &[serde_json::Value]) -> Vec<&serde_json::Value> {
    let is =
        |fields: &&serde_json::Value| fields["message"].as_str().is_some_and(|it| it.starts_with("Revoked before"));
    lines.iter().map(|line| &line["fields"]).filter(is).collect()
}

#[tokio::test]
async fn the_oldest_stream_of_an_agent_gives_way_and_all_end_with_the_server() {
    let following = follow(&Disk::new()).await;
    let (_agent, caller) = following.server.agent().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(following.subscribe(&caller, 0).await);
    }
    assert_eq!(streams[0].next().await.unwrap_err(), Ended::Replaced);
    for stream in &mut streams[1..] {
        assert!(next(stream).await.bundle.is_some());
    }
    following.cancelled.cancel();
    for stream in &mut streams[1..] {
        let ended = tokio::time::timeout(PATIENCE, async { while stream.next().await.is_ok() {} }).await;
        ended.unwrap();
        assert_eq!(stream.next().await.unwrap_err(), Ended::Stopping);
    }
}

#[tokio::test]
async fn the_push_reads_no_database() {
    let following = follow(&Disk::new()).await;
    let (_agent, caller) = following.server.agent().await;
    let mut stream = following.subscribe(&caller, 0).await;
    next(&mut stream).await;
    let before = following.services().ledger.statistics();
    drop(stream);
    let mut stream = following.subscribe(&caller, 0).await;
    next(&mut stream).await;
    following.services().watchers.wait_acknowledged(1, SILENCE).await;
    assert_eq!(following.services().ledger.statistics(), before);
}

/// What one change costs with a thousand connected agents of a hundred entries each: printed, and held below what it is spaced by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_agents_are_told_of_a_change_without_looking_at_the_rest() {
    const AGENTS: usize = 1000;
    const ENTRIES: usize = 100;
    let following = follow(&Disk::new()).await;
    // Entries below one shared parent, and one of each agent's own.
    let shared = id("/shared");
    let below = (0..ENTRIES - 1).map(|n| entry(&format!("/w{n}"), &shared, &["unix:uid:1"]));
    following.server.create(below.collect()).await;
    let mut agents = Vec::with_capacity(AGENTS);
    for _ in 0..AGENTS {
        agents.push(following.server.agent().await);
    }
    let parents: Vec<_> = agents.iter().map(|(agent, _)| entry("/shared", agent, &["unix:uid:2"])).collect();
    following.server.create(parents).await;
    let mut streams = Vec::with_capacity(AGENTS);
    for (_, caller) in &agents {
        streams.push(following.subscribe(caller, 0).await);
    }
    for stream in &mut streams {
        assert!(next(stream).await.entries.is_some());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for stream in &mut streams {
        while tokio::time::timeout(Duration::from_millis(1), stream.next()).await.is_ok() {}
    }

    let changes = 20;
    let (before, began) = (cpu(), Instant::now());
    let first = &agents[0].0;
    for n in 0..changes {
        following.server.create(vec![entry(&format!("/own-{n}"), first, &["unix:uid:3"])]).await;
        assert!(next(&mut streams[0]).await.entries.is_some());
    }
    let own = (cpu() - before) / changes;
    println!("a change of one agent's entries: {own:?} of CPU and {:?} until it is told", began.elapsed() / changes);
    assert!(tokio::time::timeout(Duration::from_millis(50), streams[1].next()).await.is_err(), "only one is told");

    let (before, began) = (cpu(), Instant::now());
    let sequence = following.publish("key").await;
    for stream in &mut streams {
        assert_eq!(next(stream).await.bundle.unwrap().sequence_number, sequence);
    }
    println!("a bundle: {:?} of CPU and {:?} until all have it", cpu() - before, began.elapsed());

    let foreign = TrustDomain::parse("other.test").unwrap();
    following.set_foreign(&foreign, 1).await;
    let mut federated = entry("/federated", &shared, &["unix:uid:5"]);
    federated.federates_with = vec![foreign.clone()];
    following.server.create(vec![federated]).await;
    for stream in &mut streams {
        while next(stream).await.foreign.is_none() {}
    }
    let (before, began) = (cpu(), Instant::now());
    following.set_foreign(&foreign, 2).await;
    for stream in &mut streams {
        assert!(next(stream).await.foreign.is_some());
    }
    println!("a foreign bundle: {:?} of CPU and {:?} until all are told", cpu() - before, began.elapsed());

    let (before, began) = (cpu(), Instant::now());
    following.server.create(vec![entry("/for-all", &shared, &["unix:uid:4"])]).await;
    for stream in &mut streams {
        assert!(next(stream).await.entries.is_some());
    }
    let (all, told) = (cpu() - before, began.elapsed());
    println!("a change of all agents' entries: {all:?} of CPU and {told:?} until all are told");
    assert!(told < Duration::from_secs(10), "a millisecond each: {told:?}");
}

/// CPU time of this process.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
