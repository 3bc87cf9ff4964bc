//! Bytes that no honest client sends.

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{AttestAgentRequest, ListAgentsRequest, attest_agent_request};
use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use plastron_proto::spire::api::server::entry::v1::{BatchDeleteEntryRequest, SyncAuthorizedEntriesRequest};
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{BatchNewX509svidRequest, NewX509svidParams};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Server, csr, params};

async fn attest(server: &Server, messages: Vec<AttestAgentRequest>) -> Status {
    let mut client = AgentClient::new(server.tls(None).await);
    match client.attest_agent(tokio_stream::iter(messages)).await {
        Ok(answers) => answers.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    }
}

async fn still_serves(server: &Server) {
    BundleClient::new(server.tls(None).await).get_bundle(GetBundleRequest::default()).await.unwrap();
}

#[tokio::test]
async fn an_attestation_that_makes_no_sense_is_named() {
    let server = Server::start().await;
    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let response = attest_agent_request::Step::ChallengeResponse(vec![1]);
    let bare = attest_agent_request::Params::default();
    let cases = [
        (vec![], Code::InvalidArgument, "closed the stream"),
        (vec![AttestAgentRequest { step: None }], Code::InvalidArgument, "malformed param: missing params"),
        (vec![AttestAgentRequest { step: Some(response) }], Code::InvalidArgument, "malformed param: missing params"),
        (
            vec![AttestAgentRequest { step: Some(attest_agent_request::Step::Params(bare)) }],
            Code::InvalidArgument,
            "malformed param: missing attestation data",
        ),
        (vec![params("join_token", b"t", b"")], Code::InvalidArgument, "malformed param: missing CSR"),
        (vec![params("", b"t", &csr)], Code::InvalidArgument, "malformed param: missing attestation data type"),
        (vec![params("join_token", b"", &csr)], Code::InvalidArgument, "missing attestation data payload"),
        (vec![params("join_token", b"t", b"no csr")], Code::InvalidArgument, "failed to parse CSR: "),
        (vec![params("join_token", &[0xff], &csr)], Code::InvalidArgument, "failed to attest"),
        (vec![params("no_such", b"t", &csr)], Code::FailedPrecondition, "could not find node attestor type"),
        (vec![params("x\u{1b}[2J", b"t", &csr)], Code::InvalidArgument, "malformed param: attestation data type"),
        (vec![params(&"a".repeat(65), b"t", &csr)], Code::InvalidArgument, "malformed param: attestation data type"),
    ];
    for (messages, code, text) in cases {
        let status = attest(&server, messages).await;
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?} does not say {text:?}");
        assert!(!status.message().contains('\u{1b}'));
    }
    still_serves(&server).await;
}

/// Threat 30
#[tokio::test]
async fn what_is_too_much_is_refused_before_work_is_done() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let channel = server.tls(Some(&agent)).await;

    let oversized = attest(&server, vec![params("join_token", &vec![b'a'; 5 << 20], b"csr")]).await;
    assert_eq!(oversized.code(), Code::ResourceExhausted, "{oversized:?}");

    let evidence = attest(&server, vec![params("join_token", &vec![b'a'; 300 << 10], b"csr")]).await;
    assert_eq!(evidence.code(), Code::ResourceExhausted, "anyone may send evidence, of at most 256 KiB: {evidence:?}");
    let ids = vec!["a".repeat(5 << 10)];
    let path = PathAndQuery::from_static("/spire.api.server.bundle.v1.Bundle/GetBundle");
    let mut client = tonic::client::Grpc::new(server.tls(None).await);
    client.ready().await.unwrap();
    let long = BatchDeleteEntryRequest { ids };
    let refused = client.unary(Request::new(long), path, ProstCodec::<BatchDeleteEntryRequest, ()>::default()).await;
    assert_eq!(refused.map(|_answer| ()).unwrap_err().code(), Code::ResourceExhausted, "a mask is short");

    let params = vec![NewX509svidParams::default(); 501];
    let refused = SvidClient::new(channel.clone()).batch_new_x509svid(BatchNewX509svidRequest { params }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let ids = vec![String::new(); 5_001];
    let refused = EntryClient::new(server.local.clone()).batch_delete_entry(BatchDeleteEntryRequest { ids }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let mut admin = AgentClient::new(server.local.clone());
    let listed = admin.list_agents(ListAgentsRequest { page_size: i32::MAX, ..Default::default() }).await.unwrap();
    assert_eq!(listed.into_inner().agents.len(), 1);
    let listed = admin.list_agents(ListAgentsRequest { page_size: i32::MIN, ..Default::default() }).await.unwrap();
    assert_eq!(listed.into_inner().agents.len(), 1);
    let refused = admin.list_agents(ListAgentsRequest { page_token: "zz".into(), ..Default::default() }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let requests = [SyncAuthorizedEntriesRequest { output_mask: None, ids: vec!["a".into()] }];
    let answers = EntryClient::new(channel).sync_authorized_entries(tokio_stream::iter(requests)).await.unwrap();
    assert_eq!(answers.into_inner().message().await.unwrap_err().code(), Code::InvalidArgument);
    still_serves(&server).await;
}

#[tokio::test]
async fn who_opens_an_attestation_and_says_nothing_is_told_so() {
    let server = Server::start().await;
    let mut client = AgentClient::new(server.tls(None).await);
    let mut answers = client.attest_agent(tokio_stream::pending()).await.unwrap().into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DeadlineExceeded, "the node's next message took longer than 5 s")
    );
}
