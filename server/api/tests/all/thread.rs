//! From a join token to a workload's SVID, and what becomes of an agent that is banned or evicted.

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{
    AgentX509svidParams, BanAgentRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, PostStatusRequest,
    RenewAgentRequest,
};
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::debug::v1::GetInfoRequest;
use plastron_proto::spire::api::server::debug::v1::debug_client::DebugClient;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, SyncAuthorizedEntriesRequest,
};
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, NewX509svidParams, batch_new_x509svid_response,
};
use plastron_proto::types::EntryMask;
use plastron_server_api::RateLimits;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use rcgen::PublicKeyData as _;
use rustls_pki_types::UnixTime;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Agent, Server, bad_csr, csr, denial};

fn mask() -> EntryMask {
    EntryMask { spiffe_id: true, selectors: true, revision_number: true, created_at: true, ..Default::default() }
}

async fn issue(
    server: &Server,
    agent: &Agent,
    params: Vec<NewX509svidParams>,
) -> Vec<batch_new_x509svid_response::Result> {
    let request = BatchNewX509svidRequest { params };
    SvidClient::new(server.tls(Some(agent)).await).batch_new_x509svid(request).await.unwrap().into_inner().results
}

#[tokio::test]
async fn a_node_with_a_token_gets_svids_for_its_workloads() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry_id = server.entry(&agent, "/db").await;

    let requests = [SyncAuthorizedEntriesRequest { output_mask: Some(mask()), ids: vec![] }];
    let mut client = EntryClient::new(server.tls(Some(&agent)).await);
    let mut answers = client.sync_authorized_entries(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let all = answers.message().await.unwrap().unwrap();
    assert_eq!((all.entries.len(), all.entries[0].id.as_str(), all.more), (1, entry_id.as_str(), false));
    assert!(all.entries[0].parent_id.is_none(), "the mask leaves it out");
    assert!(answers.message().await.unwrap().is_none());

    let key = rcgen::KeyPair::generate().unwrap();
    let params = |entry_id: &str, csr| NewX509svidParams { entry_id: entry_id.into(), csr };
    let requests = vec![params(&entry_id, csr(&key)), params("nobody's", csr(&key)), params(&entry_id, vec![1])];
    let results = issue(&server, &agent, requests).await;
    let codes: Vec<_> = results.iter().map(|result| Code::from(result.status.as_ref().unwrap().code)).collect();
    assert_eq!(codes, [Code::Ok, Code::NotFound, Code::InvalidArgument]);
    let svid = results[0].svid.clone().unwrap();
    let parsed = X509Svid::parse(svid.cert_chain).unwrap();
    let bundle = server.services.bundles.current();
    let bundles = std::collections::HashMap::from([(bundle.trust_domain.clone(), bundle.as_ref().clone())]);
    let verified = verify_chain(parsed, &bundles, Purpose::Any, UnixTime::now()).unwrap();
    assert_eq!(verified.id().as_str(), "spiffe://example.org/db");
    assert_eq!(verified.svid().public_key(), key.subject_public_key_info());
}

/// Threat 37
#[tokio::test]
async fn a_request_that_its_own_key_did_not_sign_is_refused_everywhere() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry_id = server.entry(&agent, "/db").await;
    let key = rcgen::KeyPair::generate().unwrap();

    let results = issue(&server, &agent, vec![NewX509svidParams { entry_id, csr: bad_csr(&key) }]).await;
    let status = results[0].status.clone().unwrap();
    assert_eq!(Code::from(status.code), Code::InvalidArgument);
    assert!(results[0].svid.is_none() && status.message.contains("signature"), "{}", status.message);

    let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr: bad_csr(&key) }) };
    let refused = AgentClient::new(server.tls(Some(&agent)).await).renew_agent(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let token = server.token().await;
    let messages = [crate::harness::params("join_token", token.as_bytes(), &bad_csr(&key))];
    let mut client = AgentClient::new(server.tls(None).await);
    let mut answers = client.attest_agent(tokio_stream::iter(messages)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    server.attest(&token).await.unwrap();
}

#[tokio::test]
async fn a_token_admits_one_node_and_the_second_hears_spires_words() {
    let server = Server::start().await;
    let token = server.token().await;
    server.attest(&token).await.unwrap();
    let refused = server.attest(&token).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "failed to attest: join token does not exist or has already been used");
}

#[tokio::test]
async fn a_renewed_svid_is_current_from_its_first_use_on() {
    let server = Server::start().await;
    let mut agent = server.attest(&server.token().await).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let renew = |csr| RenewAgentRequest { params: Some(AgentX509svidParams { csr }) };
    let channel = server.tls(Some(&agent)).await;
    let svid = AgentClient::new(channel).renew_agent(renew(csr(&key))).await.unwrap().into_inner().svid.unwrap();
    assert_eq!(svid.id, agent.svid.id);
    let post = PostStatusRequest { agent_version: "0.1.0".into(), ..Default::default() };
    AgentClient::new(server.tls(Some(&agent)).await).post_status(post.clone()).await.unwrap();

    let renewed = Agent { key, svid };
    AgentClient::new(server.tls(Some(&renewed)).await).post_status(post.clone()).await.unwrap();
    let refused = AgentClient::new(server.tls(Some(&agent)).await).post_status(post).await.unwrap_err();
    assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(3)));

    agent = renewed;
    let get = GetAgentRequest { id: agent.svid.id.clone(), output_mask: None };
    let shown = AgentClient::new(server.local.clone()).get_agent(get).await.unwrap().into_inner();
    assert_eq!((shown.agent_version.as_str(), shown.banned, shown.can_reattest), ("0.1.0", false, false));
    assert!(!shown.x509svid_serial_number.is_empty());
}

#[tokio::test]
async fn a_banned_agent_hears_why_and_an_evicted_one_is_forgotten() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let id = agent.svid.id.clone();
    let mut admin = AgentClient::new(server.local.clone());
    admin.ban_agent(BanAgentRequest { id: id.clone() }).await.unwrap();
    let channel = server.tls(Some(&agent)).await;
    let refused = AgentClient::new(channel.clone()).post_status(PostStatusRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(4)));

    let listed =
        admin.list_agents(ListAgentsRequest { page_size: 1000, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!((listed.agents.len(), listed.agents[0].banned), (1, true));
    assert_eq!(listed.agents[0].x509svid_serial_number, "");

    admin.delete_agent(DeleteAgentRequest { id: id.clone() }).await.unwrap();
    let refused = AgentClient::new(channel).post_status(PostStatusRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(2)));
    let refused = admin.get_agent(GetAgentRequest { id, output_mask: None }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "agent not found"));
}

/// Threat 27
#[tokio::test]
async fn a_ban_ends_what_the_agent_has_under_way() {
    let server = Server::limited(RateLimits { attestation: false, signing: true }).await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let channel = server.tls(Some(&agent)).await;

    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut sync = EntryClient::new(channel.clone()).sync_authorized_entries(stream).await.unwrap().into_inner();

    // A bucket is filled in a second, so the last of these waits for half a minute.
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let request = BatchNewX509svidRequest { params: vec![NewX509svidParams::default(); 500] };
        let mut client = SvidClient::new(channel.clone());
        waiting.spawn(async move { client.batch_new_x509svid(request).await.map(|_answer| ()) });
    }
    waiting.join_next().await.unwrap().unwrap().unwrap();
    AgentClient::new(server.local.clone()).ban_agent(BanAgentRequest { id: agent.svid.id.clone() }).await.unwrap();
    let refused = loop {
        if let Err(refused) = waiting.join_next().await.unwrap().unwrap() {
            break refused;
        }
    };
    assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(4)));

    requests.send(SyncAuthorizedEntriesRequest { output_mask: None, ids: vec![] }).await.unwrap();
    let refused = sync.message().await.unwrap_err();
    assert_eq!((refused.code(), denial(&refused)), (Code::PermissionDenied, Some(4)));
}

#[tokio::test]
async fn what_is_missing_in_a_batch_is_named_in_its_place() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let refused = SvidClient::new(server.tls(Some(&agent)).await)
        .batch_new_x509svid(BatchNewX509svidRequest { params: vec![] })
        .await
        .unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "missing parameters"));
    let entry_id = server.entry(&agent, "/db").await;
    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let params = |entry_id: &str, csr: &[u8]| NewX509svidParams { entry_id: entry_id.into(), csr: csr.into() };
    let asked = vec![params("", &csr), params(&entry_id, &csr), params(&entry_id, &[]), params("none", &csr)];
    let answered: Vec<_> = issue(&server, &agent, asked)
        .await
        .into_iter()
        .map(|result| (Code::from(result.status.clone().unwrap().code), result.status.unwrap().message))
        .collect();
    let expected = [
        (Code::InvalidArgument, "missing entry ID"),
        (Code::Ok, "OK"),
        (Code::InvalidArgument, "missing CSR"),
        (Code::NotFound, "entry not found or not authorized"),
    ];
    assert_eq!(answered, expected.map(|(code, text)| (code, text.to_owned())));
}

#[tokio::test]
async fn an_entry_that_exists_is_shown_with_its_refusal() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let id = server.entry(&agent, "/db").await;
    let mut client = EntryClient::new(server.local.clone());
    let listed =
        client.list_entries(plastron_proto::spire::api::server::entry::v1::ListEntriesRequest::default()).await;
    let mut again = listed.unwrap().into_inner().entries[0].clone();
    again.id = String::new();
    let broken = plastron_proto::types::Entry::default();
    let request = BatchCreateEntryRequest { entries: vec![broken, again], output_mask: None };
    let results = client.batch_create_entry(request).await.unwrap().into_inner().results;
    let status = |n: usize| results[n].status.clone().unwrap();
    assert_eq!(Code::from(status(0).code), Code::InvalidArgument);
    assert_eq!(status(0).message, "failed to convert entry: invalid parent ID: request must specify SPIFFE ID");
    assert_eq!(
        (Code::from(status(1).code), status(1).message),
        (Code::AlreadyExists, "similar entry already exists".into())
    );
    assert_eq!(results[1].entry.as_ref().unwrap().id, id);

    let request = BatchDeleteEntryRequest { ids: vec![id.clone(), id] };
    let results = client.batch_delete_entry(request).await.unwrap().into_inner().results;
    let codes: Vec<_> = results.iter().map(|result| Code::from(result.status.as_ref().unwrap().code)).collect();
    assert_eq!(codes, [Code::Ok, Code::NotFound]);
}

#[tokio::test]
async fn the_server_tells_about_itself_on_its_own_machine() {
    let server = Server::start().await;
    server.attest(&server.token().await).await.unwrap();
    let info = DebugClient::new(server.local.clone()).get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.agents_count, info.entries_count), (1, 0));
    let shown: Vec<_> =
        info.svid_chain.iter().map(|one| (one.id.as_ref().unwrap().path.as_str(), one.subject.as_str())).collect();
    assert_eq!((shown[0], shown.len()), (("/spire/server", "O=SPIRE,C=US"), 2));
    assert!(shown[1].0.is_empty() && shown[1].1.ends_with("O=SPIFFE,C=US"), "{shown:?}: the authority");
    assert_eq!(info.federated_bundles_count, 1, "SPIRE counts its own");
    let health = HealthClient::new(server.local.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1);

    let bundle = BundleClient::new(server.tls(None).await).get_bundle(GetBundleRequest::default()).await.unwrap();
    assert_eq!(bundle.into_inner().x509_authorities.len(), 1);
}

/// No database read on the hot paths.
#[tokio::test]
async fn issue_sync_and_bundle_read_no_database() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry_id = server.entry(&agent, "/db").await;
    let channel = server.tls(Some(&agent)).await;
    let before = server.services.ledger.statistics();
    for _ in 0..3 {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = vec![NewX509svidParams { entry_id: entry_id.clone(), csr: csr(&key) }];
        SvidClient::new(channel.clone()).batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap();
        let requests = [SyncAuthorizedEntriesRequest { output_mask: None, ids: vec![] }];
        let answers = EntryClient::new(channel.clone()).sync_authorized_entries(tokio_stream::iter(requests)).await;
        assert_eq!(answers.unwrap().into_inner().message().await.unwrap().unwrap().entries.len(), 1);
        BundleClient::new(channel.clone()).get_bundle(GetBundleRequest::default()).await.unwrap();
    }
    assert_eq!(server.services.ledger.statistics(), before);
}
