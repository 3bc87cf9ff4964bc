//! SVIDs that administrators mint, as the wire has them: codes and words. Every CSR that is refused stands in
//! `server/core/tests/all/minting.rs`.

use plastron_proto::spire::api::server::svid::v1::MintX509svidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::types::X509svid;
use plastron_spiffe::x509::X509Svid;
use rcgen::{CertificateParams, KeyPair, SanType};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Server, bad_csr, csr};

fn asking_for(sans: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans;
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

async fn mint(channel: Channel, csr: Vec<u8>, ttl: i32) -> Result<X509svid, Status> {
    let answer = SvidClient::new(channel).mint_x509svid(MintX509svidRequest { csr, ttl }).await?;
    Ok(answer.into_inner().svid.unwrap())
}

#[tokio::test]
async fn an_administrator_mints_an_x509_svid() {
    let server = Server::start().await;
    let minted = mint(server.local.clone(), asking_for(vec![uri("spiffe://example.org/web")]), 600).await.unwrap();
    assert_eq!(minted.id.unwrap().path, "/web");
    let svid = X509Svid::parse(minted.cert_chain).unwrap();
    assert_eq!(svid.claimed_id().as_str(), "spiffe://example.org/web");
}

#[tokio::test]
async fn bad_csrs_are_invalid_arguments_in_spires_words() {
    let server = Server::start().await;
    let key = KeyPair::generate().unwrap();
    let invalid = "CSR URI SAN is invalid: \"spiffe://example.org/spire/agent/a\" is not a workload in trust domain";
    for (csr, words) in [
        (Vec::new(), "missing CSR"),
        (b"garbage".to_vec(), "malformed CSR"),
        (bad_csr(&key), "failed to verify CSR signature"),
        (csr(&key), "CSR URI SAN is required"),
        (
            asking_for(vec![uri("spiffe://example.org/a"), uri("spiffe://example.org/b")]),
            "only one URI SAN is expected",
        ),
        (asking_for(vec![uri("spiffe://example.org/spire/agent/a")]), invalid),
    ] {
        let refused = mint(server.local.clone(), csr, 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{words}");
        assert!(refused.message().starts_with(words), "{refused:?}, where {words:?} was expected");
    }
}

/// Threat 23
#[tokio::test]
async fn an_agent_mints_nothing() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    for channel in [server.tls(None).await, server.tls(Some(&agent)).await] {
        let refused = mint(channel, asking_for(vec![uri("spiffe://example.org/web")]), 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}
