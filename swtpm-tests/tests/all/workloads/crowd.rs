//! Many callers of one agent, most of them without an identity.

use plastron_agent_cli::{Endpoint, WorkloadApiClient, connect};
use plastron_proto::workload::{JwtBundlesRequest, X509svidRequest, X509svidResponse};
use tonic::Code;

use super::testbed::{Agent, PATIENCE, Testbed, own_uid};

async fn client(agent: &Agent) -> WorkloadApiClient {
    connect(&Endpoint::Unix(agent.socket())).await.unwrap()
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Open file descriptors of a process.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Threat 58: a caller without an identity costs nothing that stays. Threat 38: nor does a connection leave a descriptor behind.
#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_leave_neither_memory_nor_descriptors_behind() {
    let bed = Testbed::start("");
    let mut agent = bed.start_agent();
    let pid = agent.process().pid();
    let refused = async |connections: usize, calls: usize| {
        for _ in 0..connections {
            let mut client = client(&agent).await;
            for _ in 0..calls {
                let status = client.fetch_x509svid(X509svidRequest {}).await.unwrap_err();
                assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no identity issued"));
                let status = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap_err();
                assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no identity issued"));
            }
        }
    };
    refused(20, 10).await;
    let (memory, files) = (resident(pid), descriptors(pid));
    refused(200, 10).await;
    // 4,000 calls over 200 connections; a leak of 1 KiB a call would be 4 MiB.
    assert!(resident(pid) < memory + 3 * 1024, "{memory} KiB before, {} after", resident(pid));
    super::testbed::eventually("connections to be closed", || (descriptors(pid) <= files + 2).then_some(()));
}

/// As many as one user may have connected, less a few.
const CROWD: usize = 1000;
/// What one connection with an open stream may cost the agent, in KiB.
const PER_CONNECTION: u64 = 96;
/// What an allocator may take its time to give back, in KiB.
const FLAT: u64 = 8 * 1024;

/// A workload that follows its identity.
struct Follower {
    _client: WorkloadApiClient,
    stream: tonic::Streaming<X509svidResponse>,
}

impl Follower {
    /// Reads until the only SVID has this hint.
    async fn await_hint(&mut self, hint: &str) {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.message()).await.unwrap().unwrap().unwrap();
            let [svid] = message.svids.as_slice() else { panic!("{} SVIDs", message.svids.len()) };
            if svid.hint == hint {
                return;
            }
        }
    }
}

async fn crowd(agent: &Agent, hint: &str) -> Vec<Follower> {
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut client = client(agent).await;
        let stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
        let mut follower = Follower { _client: client, stream };
        follower.await_hint(hint).await;
        crowd.push(follower);
    }
    crowd
}

/// This process is at the other end of each connection.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Threats 57 to 59: a thousand workloads at once are all told of every change, and what the agent holds grows with those that are connected,
/// not with what was pushed to them or with those that were there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_workloads_are_told_of_every_change_and_memory_stays_flat() {
    allow_open_files();
    let bed = Testbed::start("");
    let mut agent = bed.start_agent();
    let pid = agent.process().pid();
    let node = bed.only_node();
    let entry = bed.entry(&node, "/crowd", &[&own_uid()], &["-hint", "0"]);
    let own = super::testbed::workload_program(&bed.path(""), "own");
    agent.await_id(&own, "/crowd");
    let (alone, files) = (resident(pid), descriptors(pid));

    let mut first = crowd(&agent, "0").await;
    let connected = resident(pid);
    assert!(connected < alone + PER_CONNECTION * CROWD as u64, "{alone} KiB alone, {connected} with {CROWD} workloads");
    let id = format!("spiffe://{}/crowd", super::testbed::TRUST_DOMAIN);
    for round in 1..=10 {
        let (selector, hint) = (own_uid(), round.to_string());
        let update = ["entry", "update", "-entryID", &entry, "-parentID", &node, "-spiffeID", &id];
        bed.server_cli(&[&update[..], &["-selector", &selector, "-hint", &hint]].concat());
        for follower in &mut first {
            follower.await_hint(&hint).await;
        }
    }
    let pushed = resident(pid);
    assert!(pushed < connected + FLAT, "{connected} KiB with {CROWD} workloads, {pushed} after ten changes");

    drop(first);
    let mut crowds = vec![alone, connected, pushed];
    for _ in 0..3 {
        super::testbed::eventually("connections to be closed", || (descriptors(pid) <= files + 8).then_some(()));
        let others = crowd(&agent, "10").await;
        crowds.push(resident(pid));
        drop(others);
    }
    println!("resident, KiB: alone, {CROWD} connected, after ten changes, three more crowds: {crowds:?}");
    // The second crowd finds the gaps that the first one left, as far as the allocator can use them; the later ones find all they need.
    let [.., second, _, fourth] = crowds.as_slice() else { panic!("{crowds:?}") };
    assert!(*second < pushed + 2 * FLAT, "{crowds:?}");
    assert!(*fourth < second + FLAT, "{crowds:?}");
}

/// The agent ends in order while streams are open, and each of them is told why.
#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_keep_an_agent_from_stopping() {
    let bed = Testbed::start("");
    let mut agent = bed.start_agent();
    let node = bed.only_node();
    bed.entry(&node, "/test", &[&own_uid()], &[]);
    let own = super::testbed::workload_program(&bed.path(""), "own");
    agent.await_id(&own, "/test");
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut client = client(&agent).await;
        let mut stream = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        streams.push(stream);
    }
    let stopped = tokio::task::spawn_blocking(move || agent.process().terminate(PATIENCE).unwrap());
    for mut stream in streams {
        let status = stream.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the agent is shutting down"));
    }
    assert!(stopped.await.unwrap().success());
}
