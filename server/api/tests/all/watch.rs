//! The push stream on its wire.

use std::time::{Duration, Instant};

use plastron_proto::plastron::server::watch::v1::watch_client::WatchClient;
use plastron_proto::plastron::server::watch::v1::{SubscribeRequest, SubscribeResponse};
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{BanAgentRequest, DeleteAgentRequest};
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{AppendBundleRequest, BatchSetFederatedBundleRequest};
use plastron_proto::types::{Bundle, JwtKey};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::harness::{Agent, Server, denial};

const PATIENCE: Duration = Duration::from_secs(10);

struct Stream {
    acknowledge: mpsc::Sender<SubscribeRequest>,
    told: Streaming<SubscribeResponse>,
}

impl Stream {
    async fn open(server: &Server, agent: &Agent) -> Result<Self, Status> {
        let (acknowledge, requests) = mpsc::channel(4);
        acknowledge.send(SubscribeRequest { acknowledged_bundle: 0 }).await.unwrap();
        let mut client = WatchClient::new(server.tls(Some(agent)).await);
        let told = client.subscribe(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { acknowledge, told })
    }

    async fn next(&mut self) -> Result<Option<SubscribeResponse>, Status> {
        tokio::time::timeout(PATIENCE, self.told.message()).await.unwrap()
    }
}

fn bundle(message: SubscribeResponse) -> Bundle {
    Bundle::decode(message.bundle.unwrap()).unwrap()
}

/// One more JWT authority with an identifier of this length; the bundle's sequence number.
async fn publish(server: &Server, key_id_len: usize) -> u64 {
    let public_key = rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap());
    let key_id = hex(&public_key).chars().cycle().take(key_id_len).collect();
    let jwt_authorities = vec![JwtKey { public_key, key_id, expires_at: 0, tainted: false }];
    let request = AppendBundleRequest { jwt_authorities, ..Default::default() };
    BundleClient::new(server.local.clone()).append_bundle(request).await.unwrap().into_inner().sequence_number
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

/// Threat 48
#[tokio::test]
async fn an_agent_is_told_at_once_and_what_it_acknowledges_counts() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut stream = Stream::open(&server, &agent).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let before = first.entries.unwrap();
    assert_eq!(bundle(first), bundle_of(&server).await);

    server.entry(&agent, "/db").await;
    let told = stream.next().await.unwrap().unwrap();
    assert!(told.bundle.is_none() && told.entries.is_some_and(|entries| entries != before));

    let sequence = publish(&server, 32).await;
    let began = Instant::now();
    let pushed = bundle(stream.next().await.unwrap().unwrap());
    assert_eq!((pushed.sequence_number, pushed.jwt_authorities.len()), (sequence, 2));
    println!("a bundle arrives {:?} after the call that changed it", began.elapsed());

    let watchers = &server.services.watchers;
    assert_eq!(watchers.acknowledged(sequence).count(), 0);
    let waiting = watchers.wait_acknowledged(sequence, PATIENCE);
    let acknowledging = stream.acknowledge.send(SubscribeRequest { acknowledged_bundle: sequence });
    // What it acknowledges is read while the stream is.
    let (acknowledged, sent, _silent) =
        tokio::join!(waiting, acknowledging, tokio::time::timeout(Duration::from_secs(1), stream.told.message()));
    sent.unwrap();
    assert_eq!((acknowledged.of, acknowledged.count()), (1, 1));
}

/// The names, as they stand on the wire.
fn foreign(message: SubscribeResponse) -> Vec<(String, Option<u64>)> {
    message.foreign.unwrap().bundles.into_iter().map(|one| (one.trust_domain, one.bundle)).collect()
}

#[tokio::test]
async fn an_agent_is_told_at_once_of_a_foreign_bundle() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut bundles = BundleClient::new(server.local.clone());
    let mut set = async |sequence| {
        let bundle = vec![crate::federation::foreign("other.test", sequence)];
        let request = BatchSetFederatedBundleRequest { bundle, output_mask: None };
        bundles.batch_set_federated_bundle(request).await.unwrap();
    };
    set(1).await;
    let mut stream = Stream::open(&server, &agent).await.unwrap();
    assert_eq!(foreign(stream.next().await.unwrap().unwrap()), []);
    server.federated_entry(&agent, "/db", "other.test").await;
    let before = foreign(stream.next().await.unwrap().unwrap());
    assert!(matches!(&before[..], [(domain, Some(_))] if domain == "other.test"), "{before:?}");
    set(2).await;
    let began = Instant::now();
    let told = stream.next().await.unwrap().unwrap();
    assert!(told.bundle.is_none() && told.entries.is_none());
    println!("the name of a foreign bundle arrives {:?} after the call that changed it", began.elapsed());
    assert_ne!(foreign(told), before);
}

async fn bundle_of(server: &Server) -> Bundle {
    let request = plastron_proto::spire::api::server::bundle::v1::GetBundleRequest { output_mask: None };
    BundleClient::new(server.local.clone()).get_bundle(request).await.unwrap().into_inner()
}

/// Threat 27
#[tokio::test]
async fn the_stream_of_an_agent_that_is_banned_or_evicted_ends_with_the_reason() {
    let server = Server::start().await;
    let mut admin = AgentClient::new(server.local.clone());
    for banned in [true, false] {
        let agent = server.attest(&server.token().await).await.unwrap();
        let mut stream = Stream::open(&server, &agent).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let (id, began) = (agent.svid.id.clone(), Instant::now());
        let reason = if banned {
            admin.ban_agent(BanAgentRequest { id }).await.unwrap();
            4
        } else {
            admin.delete_agent(DeleteAgentRequest { id }).await.unwrap();
            2
        };
        let status = stream.next().await.unwrap_err();
        assert_eq!((status.code(), denial(&status)), (Code::PermissionDenied, Some(reason)));
        println!("the stream ended {:?} after the call began", began.elapsed());
        let refused = Stream::open(&server, &agent).await.err().unwrap();
        assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(reason)));
    }
}

/// Threat 48
#[tokio::test]
async fn an_agent_that_does_not_read_costs_no_more_than_its_window() {
    const PUBLISHED: usize = 120;
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut stream = Stream::open(&server, &agent).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let (mut last, mut volume) = (0, 0);
    for count in 1..=PUBLISHED {
        last = publish(&server, 8_000).await;
        volume += count * 8_000;
    }
    assert!(volume > 50 << 20);
    let (mut messages, mut received) = (0, 0);
    loop {
        let pushed = bundle(stream.next().await.unwrap().unwrap());
        messages += 1;
        received += pushed.encoded_len();
        if pushed.sequence_number == last {
            break;
        }
    }
    assert!(received < volume / 4, "{messages} messages of {received} bytes, where {volume} would have been a queue");
    println!("{messages} messages of {PUBLISHED}, {received} bytes of {volume}");
}

#[tokio::test]
async fn streams_end_with_the_server_and_do_not_hold_it_up() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut stream = Stream::open(&server, &agent).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(server);
    let began = Instant::now();
    let status = loop {
        match stream.next().await {
            Ok(told) => assert!(told.is_some(), "it did not end in order"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_stream_without_a_first_message_is_refused() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let mut client = WatchClient::new(server.tls(Some(&agent)).await);
    let refused = client.subscribe(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let began = Instant::now();
    let refused = client.subscribe(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(8), "the call's own deadline is longer");
}

/// Longer than any other call's message may take to arrive, and shorter than the grace of a connection at the end of its age.
#[tokio::test]
async fn a_stream_that_lives_its_time_ends_in_order() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let (mut stream, began) = (Stream::open(&server, &agent).await.unwrap(), Instant::now());
    stream.next().await.unwrap().unwrap();
    let ended = tokio::time::timeout(plastron_transport::MAX_CONNECTION_AGE_GRACE, stream.told.message()).await;
    assert!(ended.unwrap().unwrap().is_none());
    assert!((45..=55).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
