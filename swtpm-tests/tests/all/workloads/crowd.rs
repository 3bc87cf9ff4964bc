//! Many callers of one agent, most of them without an identity.

use plastron_agent_cli::{Endpoint, WorkloadApiClient, connect};
use plastron_proto::workload::{JwtBundlesRequest, X509svidRequest};
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
