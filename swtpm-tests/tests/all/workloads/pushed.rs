//! What the server pushes, as one hundred connected workloads of several agents see it: rotations, taints, bans.

mod crowd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::crowd::Crowd;
use super::testbed::{PATIENCE, Testbed, own_uid};

const AGENTS: usize = 4;
const WORKLOADS_OF_AGENT: usize = 25;
/// How long an operator waits between a taint and a revocation, where agents' SVIDs live for 20 s.
const AGENTS_ARE_REPLACED: Duration = Duration::from_secs(7);
/// Less than it takes until an agent polls that does so every hour, or every half-life of a one-hour SVID, or a minute after a failure.
const POLLING_TAKES: Duration = Duration::from_secs(30);

/// A server with agents, each with as many connected workloads.
async fn crowd(lines: &str) -> (Arc<Testbed>, Vec<super::testbed::Agent>, Crowd) {
    let bed = Arc::new(Testbed::start(lines));
    let agents = {
        let bed = Arc::clone(&bed);
        blocking(move || {
            let mut agents = Vec::new();
            for n in 0..AGENTS {
                let token = bed.join_token();
                let mut agent = bed.spawn_agent(&token);
                agent.0.wait_until_ready().unwrap();
                let node = format!("spiffe://{}/spire/agent/join_token/{token}", super::testbed::TRUST_DOMAIN);
                bed.entry(&node, &format!("/w{n}"), &[&own_uid()], &[]);
                agents.push(agent);
            }
            agents
        })
        .await
    };
    let crowd = Crowd::connect(&agents, WORKLOADS_OF_AGENT).await;
    (bed, agents, crowd)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn cli(bed: &Arc<Testbed>, arguments: &'static [&'static str], last: &[&str]) -> String {
    let (bed, last): (_, Vec<String>) = (Arc::clone(bed), last.iter().map(|text| (*text).to_owned()).collect());
    blocking(move || {
        let all: Vec<&str> = arguments.iter().copied().chain(last.iter().map(String::as_str)).collect();
        bed.server_cli(&all)
    })
    .await
}

/// Threat 50: nobody ever meets an SVID that someone can't verify, and nobody is ever without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hundred_workloads_go_through_rotations_without_a_gap() {
    const ROTATIONS: usize = 3;
    let lines = "ca_ttl = \"60s\"\n  agent_ttl = \"20s\"\n  default_x509_svid_ttl = \"10s\"";
    let (_bed, _agents, crowd) = crowd(lines).await;
    let first = crowd.issuers().await;
    assert_eq!(first.len(), 1);
    let mut seen = first.clone();
    let deadline = Instant::now() + Duration::from_secs(60) * u32::try_from(ROTATIONS + 2).unwrap();
    while seen.len() <= ROTATIONS {
        assert!(Instant::now() < deadline, "{} issuers", seen.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
        crowd.assert_sound().await;
        seen.extend(crowd.issuers().await);
    }
    // Every workload has an SVID of the last issuer before this ends.
    crowd.until("all to have one issuer", |issuers| issuers.len() == 1).await;
    crowd.assert_sound().await;
    let report = crowd.report().await;
    println!("{report}");
}

/// An operator moves the authority on by hand, as fast as the commands run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_prepared_activated_tainted_and_revoked_under_one_hundred_workloads() {
    let lines = "ca_ttl = \"1h\"\n  agent_ttl = \"20s\"\n  default_x509_svid_ttl = \"10s\"";
    let (bed, _agents, crowd) = crowd(lines).await;
    for _ in 0..3 {
        let old = authority(&cli(&bed, &["localauthority", "x509", "show", "-output", "json"], &[]).await, "active");
        let began = Instant::now();
        let prepared = cli(&bed, &["localauthority", "x509", "prepare", "-output", "json"], &[]).await;
        let next = authority(&prepared, "prepared_authority");
        let all = crowd.until_all_have_bundle(began, |authorities| authorities.iter().any(|one| one.id == next)).await;
        println!("prepared: all {} workloads have the bundle {all:?} after the command began", crowd.len());
        let began = Instant::now();
        cli(&bed, &["localauthority", "x509", "activate", "-authorityID"], &[&next]).await;
        println!("activated in {:?}", began.elapsed());
        let began = Instant::now();
        cli(&bed, &["localauthority", "x509", "taint", "-authorityID"], &[&old]).await;
        crowd.until("all to have SVIDs of the new authority", |issuers| issuers.iter().all(|one| *one == next)).await;
        println!("tainted: all SVIDs are replaced {:?} after the command began", began.elapsed());
        // The agents' own SVIDs are replaced within a quarter of what is left of their lives, and within ten seconds.
        tokio::time::sleep(AGENTS_ARE_REPLACED).await;
        crowd.assert_sound().await;
        let began = Instant::now();
        cli(&bed, &["localauthority", "x509", "revoke", "-authorityID"], &[&old]).await;
        let all = crowd.until_all_have_bundle(began, |authorities| authorities.iter().all(|one| one.id != old)).await;
        println!("revoked: no workload has the authority {all:?} after the command began");
        crowd.assert_sound().await;
    }
    println!("{}", crowd.report().await);
}

fn authority(json: &str, name: &str) -> String {
    let json: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let id = json.get(name).or(json.get("active")).and_then(|one| one.get("authority_id")).and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("no {name} in {json}")).to_owned()
}

/// Threat 27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_reaches_the_node_and_its_workloads_at_once_and_no_one_else() {
    let (bed, mut agents, crowd) = crowd("").await;
    let mut banned = agents.remove(0);
    let node = crowd.node_of(0);
    let listed = cli(&bed, &["agent", "list", "-output", "json"], &[]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["agents"].as_array().unwrap().len(), AGENTS, "{listed}");
    let entries = cli(&bed, &["entry", "show", "-output", "json"], &["-spiffeID", &node]).await;
    let entries: Value = serde_json::from_str(&entries).unwrap();
    let parent = entries.pointer("/entries/0/parent_id/path").and_then(Value::as_str).unwrap();
    let agent = format!("spiffe://{}{parent}", super::testbed::TRUST_DOMAIN);
    let began = Instant::now();
    cli(&bed, &["agent", "ban", "-spiffeID"], &[&agent]).await;
    let commanded = began.elapsed();
    let ended = crowd.until_ended(0..WORKLOADS_OF_AGENT).await.duration_since(began);
    println!("banned: the command took {commanded:?}, and all streams of its workloads had ended after {ended:?}");
    let exit = blocking(move || banned.process().wait(PATIENCE).unwrap()).await;
    println!("its agent had ended after {:?}", began.elapsed());
    assert!(!exit.success());
    assert!(ended < commanded + Duration::from_secs(2), "polling would have taken up to twelve seconds");
    crowd.assert_running(WORKLOADS_OF_AGENT..crowd.len()).await;
}

/// Threat 48: what a killed server missed to tell is there when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_entry_arrives_by_the_push_also_after_the_server_was_killed() {
    let bed = Testbed::start("");
    let mut agent = bed.start_agent();
    agent.0.synchronise_every("1h").unwrap();
    let agent = Arc::new(agent);
    let bed = Arc::new(std::sync::Mutex::new(bed));
    for round in 0..3 {
        let (bed, agent) = (Arc::clone(&bed), Arc::clone(&agent));
        let path = format!("/round-{round}");
        let took = blocking(move || {
            let mut bed = bed.lock().unwrap();
            if round == 2 {
                bed.kill_server();
                bed.start_server();
            }
            let (node, began) = (bed.only_node(), Instant::now());
            bed.entry(&node, &path, &[&own_uid()], &[]);
            let created = began.elapsed();
            let client = super::testbed::workload_program(&bed.path(""), &format!("client-{round}"));
            agent.await_id(&client, &path);
            (created, began.elapsed())
        })
        .await;
        println!("round {round}: the command took {:?}, and the workload had its identity after {:?}", took.0, took.1);
        assert!(took.1 < took.0 + POLLING_TAKES, "{took:?}");
    }
}
