//! Every method of the interfaces, called by someone who has no business to.

use plastron_server_core::authorization::Method;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Agent, Server, denial};

/// An empty message to a method, whatever its type: every field of proto3 may be absent.
async fn call(channel: &Channel, method: Method) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(method.path());
    let codec = ProstCodec::<(), ()>::default();
    let mut answers = client.server_streaming(Request::new(()), path, codec).await?.into_inner();
    // Some go on for as long as one listens.
    answers.message().await.map(|_first| ())
}

async fn codes(channel: &Channel) -> Vec<(Method, Code)> {
    let mut codes = Vec::new();
    for method in Method::ALL {
        codes.push((*method, call(channel, *method).await.map_or_else(|status| status.code(), |()| Code::Ok)));
    }
    codes
}

/// What those who may not call are answered over TLS, where the admin socket's services are not.
fn turned_away(method: Method) -> Code {
    if method.columns().only_local() { Code::Unimplemented } else { Code::PermissionDenied }
}

/// Threat 23
#[tokio::test]
async fn without_an_svid_only_what_is_open_to_anyone_answers() {
    let server = Server::start().await;
    for (method, code) in codes(&server.tls(None).await).await {
        let columns = method.columns();
        if columns.anyone {
            assert_ne!(code, Code::PermissionDenied, "{method:?}");
        } else {
            assert_eq!(code, turned_away(method), "{method:?}");
        }
    }
}

/// Threat 23
#[tokio::test]
async fn an_agent_is_no_administrator() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    for (method, code) in codes(&server.tls(Some(&agent)).await).await {
        let columns = method.columns();
        if !columns.anyone && !columns.agent {
            assert_eq!(code, turned_away(method), "{method:?}");
        }
        if columns.agent {
            assert_ne!(code, Code::PermissionDenied, "{method:?}");
        }
    }
}

/// Threat 23
#[tokio::test]
async fn a_workload_of_the_right_trust_domain_is_nobody() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry_id = server.entry(&agent, "/db").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params =
        plastron_proto::spire::api::server::svid::v1::NewX509svidParams { entry_id, csr: crate::harness::csr(&key) };
    let request = plastron_proto::spire::api::server::svid::v1::BatchNewX509svidRequest { params: vec![params] };
    let channel = server.tls(Some(&agent)).await;
    let mut client = plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient::new(channel);
    let svid = client.batch_new_x509svid(request).await.unwrap().into_inner().results[0].svid.clone().unwrap();
    let workload = Agent { key, svid };
    let channel = server.tls(Some(&workload)).await;
    for (method, code) in codes(&channel).await {
        if !method.columns().anyone {
            assert_eq!(code, turned_away(method), "{method:?}");
        }
    }
    let refused = call(&channel, Method::PostStatus).await.unwrap_err();
    assert_eq!(denial(&refused), Some(2), "it is not an attested agent");
}

#[tokio::test]
async fn whoever_opens_the_admin_socket_may_administer_and_is_no_agent() {
    let server = Server::start().await;
    for (method, code) in codes(&server.local).await {
        let columns = method.columns();
        if columns.agent && !columns.local || columns.downstream {
            assert_eq!(code, Code::PermissionDenied, "{method:?}");
        } else if columns.local {
            assert_ne!(code, Code::PermissionDenied, "{method:?}");
        }
    }
}

/// Threat 30
#[tokio::test]
async fn a_stranger_is_turned_away_before_its_message_is_read() {
    let server = Server::start().await;
    let channel = server.tls(None).await;
    for &method in Method::ALL.iter().filter(|method| !method.columns().anyone) {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static(method.path());
        // A message that never comes: whoever waits for it never answers.
        let request = Request::new(futures_util::stream::pending::<()>());
        let refused = client.client_streaming(request, path, ProstCodec::<(), ()>::default()).await;
        assert_eq!(refused.map(|_answer| ()).unwrap_err().code(), turned_away(method), "{method:?}");
    }
}

#[tokio::test]
async fn a_method_that_no_one_knows_is_unimplemented() {
    let server = Server::start().await;
    for channel in [server.tls(None).await, server.local.clone()] {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/spire.api.server.agent.v1.Agent/attestagent");
        let refused = client.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await;
        assert_eq!(refused.map(|_answer| ()).unwrap_err().code(), Code::Unimplemented);
    }
}
