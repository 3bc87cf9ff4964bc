//! Short lives: SVIDs of workloads and of the agent itself are replaced before they end.

use std::time::{SystemTime, UNIX_EPOCH};

use plastron_agent_cli::{Endpoint, connect};
use plastron_proto::workload::X509svidRequest;
use plastron_spiffe::x509::X509Svid;

use super::testbed::{Testbed, own_uid, path_of, workload_program};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Each message comes while the SVID before it is still good, through several lives of workload and agent SVIDs.
#[tokio::test(flavor = "multi_thread")]
async fn short_lived_svids_rotate_without_a_gap() {
    const LIVES: usize = 4;
    let bed = Testbed::start("agent_ttl = \"20s\"\n  default_x509_svid_ttl = \"10s\"");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let own = std::env::current_exe().unwrap();
    bed.entry(&node, "/test", &[&own_uid(), &path_of(&own)], &[]);
    let web = workload_program(&bed.path(""), "web");

    let mut client = connect(&Endpoint::Unix(agent.socket())).await.unwrap();
    // The entry reaches the agent within its interval; before, there is no identity.
    let deadline = now() + super::testbed::PATIENCE.as_secs();
    let mut stream = loop {
        match client.fetch_x509svid(X509svidRequest {}).await {
            Ok(stream) => break stream.into_inner(),
            Err(status) => assert!(now() < deadline, "{status}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let mut last: Option<X509Svid> = None;
    for life in 0..LIVES {
        let message = stream.message().await.unwrap().unwrap();
        let received = now();
        let svid = X509Svid::parse(vec![message.svids[0].x509_svid.clone()]).unwrap();
        assert!(svid.not_before() <= received && received < svid.not_after(), "life {life}");
        if let Some(last) = &last {
            assert_ne!(last.serial(), svid.serial(), "life {life}");
            assert!(received < last.not_after(), "life {life}: the SVID before had ended");
        }
        last = Some(svid);
    }
    // By now the agent's first SVID has ended: it still synchronises with the one that followed.
    bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    tokio::task::spawn_blocking(move || agent.await_id(&web, "/web")).await.unwrap();
}
