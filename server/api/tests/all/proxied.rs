//! Behind a load balancer that says for whom it connects, limits count its clients and not the balancer.

use std::sync::Arc;

use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_server_api::RateLimits;
use plastron_spiffe::TrustDomain;
use plastron_transport::ClientTls;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Server, TRUST_DOMAIN, csr, params};

/// A balancer on a port of its own, through which all connections come from this address.
async fn balancer(server: &Server, client: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    let (to, header) = (server.address.clone(), format!("PROXY TCP4 {client} 192.0.2.1 40000 8081\r\n"));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, header) = (to.clone(), header.clone());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                far.write_all(header.as_bytes()).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    own
}

async fn channel(server: &Server, client: &str) -> Channel {
    let id = TrustDomain::parse(TRUST_DOMAIN).unwrap().with_path("/spire/server").unwrap();
    let balancer = balancer(server, client).await;
    ClientTls::new(id, Arc::clone(&server.bundles), None).connect(&balancer).await.unwrap()
}

/// An attestation that is refused in any case, once it has its turn.
async fn attest(channel: Channel) -> Status {
    let key = rcgen::KeyPair::generate().unwrap();
    let messages = [params("join_token", b"nobody-has-it", &csr(&key))];
    match AgentClient::new(channel).attest_agent(tokio_stream::iter(messages)).await {
        Err(status) => status,
        Ok(answers) => answers.into_inner().message().await.unwrap_err(),
    }
}

/// Threat 29
#[tokio::test]
async fn clients_of_one_balancer_have_limits_of_their_own() {
    let server = Server::limited(RateLimits { attestation: true, signing: false }).await;
    let (greedy, other) = (channel(&server, "203.0.113.1").await, channel(&server, "203.0.113.2").await);
    // One a second, and nobody waits for longer than a minute: of so many some are refused at once.
    let mut calls = JoinSet::new();
    for _ in 0..90 {
        calls.spawn(attest(greedy.clone()));
    }
    while calls.join_next().await.unwrap().unwrap().code() != Code::ResourceExhausted {}
    let status = attest(other).await;
    assert_ne!(status.code(), Code::ResourceExhausted, "{status}");
}
