//! Local processes that wear the Workload API's socket out. Any local user may connect, so this is what one hostile process can do.

use std::path::Path;
use std::time::Duration;

use plastron_agent_workload_api::BundleAccess;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::raw::Target;
use crate::{Agent, Client, channel, endpoint, entry, socket_in, with_svid};

/// Bytes of the bundle that is pushed again and again.
const LARGE: usize = 64 << 10;
/// Longer than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn serving() -> Agent {
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    agent.publish(&[with_svid(&entry("web", &[]))], &[b"root"]);
    agent
}

const METHODS: [&str; 2] =
    ["/SpiffeWorkloadAPI/FetchX509SVID", "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"];

impl Agent {
    /// Each on a connection of its own.
    async fn serves_others(&self) {
        for _ in 0..5 {
            let served = async {
                let mut stream = Client(SpiffeWorkloadApiClient::new(self.channel().await)).svids().await.unwrap();
                assert_eq!(stream.message().await.unwrap().unwrap().svids.len(), 1);
            };
            tokio::time::timeout(PATIENCE, served).await.unwrap();
        }
    }
}

/// Threat 31
#[tokio::test]
async fn whoever_resets_what_it_opens_again_and_again_is_cut_off() {
    let agent = serving();
    let socket = socket_in(agent.dir.path());
    for method in METHODS {
        Target { socket: &socket, method }.resets(async || agent.serves_others().await).await;
    }
}

/// Threat 31
#[tokio::test]
async fn a_header_list_that_never_ends_is_cut_off() {
    let agent = serving();
    let socket = socket_in(agent.dir.path());
    let target = Target { socket: &socket, method: METHODS[0] };
    target.endless_headers(async || agent.serves_others().await).await;
}

/// Threat 31
#[tokio::test]
async fn who_pings_and_reads_nothing_is_not_read_any_more() {
    let agent = serving();
    let socket = socket_in(agent.dir.path());
    let target = Target { socket: &socket, method: METHODS[0] };
    target.unread_answers(async || agent.serves_others().await).await;
}

/// Threat 45
#[tokio::test]
async fn messages_that_trickle_hold_nobody_up() {
    let agent = serving();
    let socket = socket_in(agent.dir.path());
    for method in METHODS {
        Target { socket: &socket, method }.trickling_calls(async || agent.serves_others().await).await;
    }
}

/// Also where those before it are not accepted yet.
async fn connected(socket: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return stream,
            Err(_full) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Threat 45: no user has more connections than its share, and what it gives up is there again.
#[tokio::test]
async fn no_user_has_more_than_its_share_of_connections() {
    let agent = serving();
    let socket = socket_in(agent.dir.path());
    let mut held = Vec::new();
    for _ in 0..plastron_transport::MAX_CONNECTIONS_OF_USER {
        held.push(connected(&socket).await);
    }
    let refused = async {
        // Closed at once, where there is no place; the ones before may not be accepted yet.
        connected(&socket).await.read(&mut [0; 1]).await
    };
    assert!(matches!(tokio::time::timeout(PATIENCE, refused).await.unwrap(), Ok(0) | Err(_)));
    held.clear();
    let again = async {
        loop {
            let mut client = Client(SpiffeWorkloadApiClient::new(channel(&socket).await));
            if client.svids().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

/// Threat 58: a stream that nobody reads gets the latest state once someone does, and none of those in between is kept for it.
#[tokio::test]
async fn a_stream_that_nobody_reads_costs_no_more_than_its_window() {
    const PUSHES: usize = 150;
    let agent = Agent::start(BundleAccess::IdentifiedWorkloads);
    let held = [with_svid(&entry("web", &[]))];
    agent.publish(&held, &[b"root"]);
    let socket = socket_in(agent.dir.path());
    let mut reading = agent.client().await.bundles().await.unwrap();
    reading.message().await.unwrap().unwrap();
    let narrow = endpoint(&socket, |endpoint| {
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535)
    });
    let mut unread = Client(SpiffeWorkloadApiClient::new(narrow.await)).bundles().await.unwrap();
    let (mut last, mut read) = (Vec::new(), 0);
    for n in 0..PUSHES {
        last = vec![u8::try_from(n).unwrap(); LARGE];
        agent.publish(&held, &[&last]);
        // Everyone who reads has it before the next one comes.
        let message = tokio::time::timeout(PATIENCE, reading.message()).await.unwrap().unwrap().unwrap();
        read += usize::from(message.bundles["spiffe://example.org"] == last);
    }
    assert_eq!(read, PUSHES, "whoever reads gets them all");
    let mut kept = 0;
    loop {
        let message = tokio::time::timeout(PATIENCE, unread.message()).await.unwrap().unwrap().unwrap();
        kept += 1;
        if message.bundles["spiffe://example.org"] == last {
            break;
        }
    }
    assert!(kept < PUSHES / 4, "{kept} messages of {PUSHES} were kept");
}
