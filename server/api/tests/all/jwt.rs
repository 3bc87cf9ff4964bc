//! JWT-SVIDs as the wire has them: what agents and administrators get, and codes and words of what they do not.

use std::time::Duration;

use plastron_hsm::KeyType;
use plastron_proto::spire::api::server::agent::v1::BanAgentRequest;
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, MintJwtsvidRequest, NewJwtsvidRequest, NewX509svidParams,
};
use plastron_proto::types::{Jwtsvid, Spiffeid};
use plastron_server_api::RateLimits;
use plastron_spiffe::jwt::{JwtSvid, validate};
use rustls_pki_types::UnixTime;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Server, TRUST_DOMAIN};

fn spiffe_id(trust_domain: &str, path: &str) -> Option<Spiffeid> {
    Some(Spiffeid { trust_domain: trust_domain.to_owned(), path: path.to_owned() })
}

async fn mint(channel: Channel, id: Option<Spiffeid>, audience: &[&str], ttl: i32) -> Result<Jwtsvid, Status> {
    let audience = audience.iter().map(|value| (*value).to_owned()).collect();
    let answer = SvidClient::new(channel).mint_jwtsvid(MintJwtsvidRequest { id, audience, ttl }).await?;
    Ok(answer.into_inner().svid.unwrap())
}

async fn issue(channel: Channel, entry_id: &str, audience: &[&str]) -> Result<Jwtsvid, Status> {
    let audience = audience.iter().map(|value| (*value).to_owned()).collect();
    let request = NewJwtsvidRequest { entry_id: entry_id.to_owned(), audience };
    Ok(SvidClient::new(channel).new_jwtsvid(request).await?.into_inner().svid.unwrap())
}

fn validated(server: &Server, token: &str, audience: &str) -> JwtSvid {
    validate(token, audience, server.services.bundles.current().as_ref(), UnixTime::now()).unwrap()
}

fn is(status: &Status, code: Code, words: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().starts_with(words), "{status:?}, where {words:?} was expected");
}

#[tokio::test]
async fn every_type_of_key_signs_tokens_that_validate() {
    for (jwt_key_type, alg) in [(KeyType::EcP256, "ES256"), (KeyType::EcP384, "ES384"), (KeyType::Rsa2048, "RS256")] {
        let server = Server::configured(|config| config.ca.jwt_key_type = jwt_key_type).await;
        let agent = server.attest(&server.token().await).await.unwrap();
        let entry = server.entry(&agent, "/web").await;
        let channel = server.tls(Some(&agent)).await;
        let issued = issue(channel, &entry, &["db", "cache"]).await.unwrap();
        let minted = mint(server.local.clone(), spiffe_id(TRUST_DOMAIN, "/web"), &["db"], 60).await.unwrap();
        for (svid, lifetime) in [(issued, 300), (minted, 60)] {
            assert_eq!(svid.expires_at - svid.issued_at, lifetime);
            assert_eq!(svid.id, spiffe_id(TRUST_DOMAIN, "/web"));
            let proven = validated(&server, &svid.token, "db");
            assert_eq!(proven.id().as_str(), "spiffe://example.org/web");
            assert_eq!(i64::try_from(proven.expires_at()).unwrap(), svid.expires_at);
            assert_eq!(header(&svid.token), format!(r#"{{"alg":"{alg}","kid":"{}","typ":"JWT"}}"#, proven.key_id()));
        }
    }
}

fn header(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    String::from_utf8(base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

#[tokio::test]
async fn bad_requests_of_administrators() {
    let server = Server::start().await;
    let invalid = |words: &str| format!("invalid SPIFFE ID: {words}");
    let workload = |id: &str| format!("\"spiffe://{id}\" is not a workload in trust domain \"example.org\"; ");
    for (id, audience, words) in [
        (None, &["db"][..], invalid("request must specify SPIFFE ID")),
        (spiffe_id("", "/web"), &["db"], invalid("")),
        (spiffe_id("example.org", "web"), &["db"], invalid("")),
        (spiffe_id("example.org", "/web/"), &["db"], invalid("")),
        (spiffe_id("Example.org", "/web"), &["db"], invalid("")),
        (
            spiffe_id("example.com", "/web"),
            &["db"],
            invalid("\"spiffe://example.com/web\" is not a member of trust domain \"example.org\""),
        ),
        (spiffe_id("example.org", ""), &["db"], invalid(&workload("example.org"))),
        (spiffe_id("example.org", "/spire/server"), &["db"], invalid(&workload("example.org/spire/server"))),
        (spiffe_id("example.org", "/web"), &[], "at least one audience is required".to_owned()),
        (spiffe_id("example.org", "/web"), &[""], "at least one audience is required".to_owned()),
        (spiffe_id("example.org", "/web"), &[&"a".repeat(9000)], "the audience takes 9004 bytes of a token".to_owned()),
    ] {
        is(&mint(server.local.clone(), id, audience, 0).await.unwrap_err(), Code::InvalidArgument, &words);
    }
}

#[tokio::test]
async fn bad_requests_of_agents() {
    let server = Server::start().await;
    let (agent, other) =
        (server.attest(&server.token().await).await.unwrap(), server.attest(&server.token().await).await.unwrap());
    let (mine, theirs) = (server.entry(&agent, "/mine").await, server.entry(&other, "/theirs").await);
    let channel = server.tls(Some(&agent)).await;
    for entry in ["", "unknown", &theirs] {
        let refused = issue(channel.clone(), entry, &["db"]).await.unwrap_err();
        is(&refused, Code::NotFound, "entry not found or not authorized");
    }
    for audience in [&[][..], &[""]] {
        let refused = issue(channel.clone(), &mine, audience).await.unwrap_err();
        is(&refused, Code::InvalidArgument, "at least one audience is required");
    }
    issue(channel.clone(), &mine, &["db"]).await.unwrap();
    let ban = BanAgentRequest { id: agent.svid.id.clone() };
    AgentClient::new(server.local.clone()).ban_agent(ban).await.unwrap();
    assert_eq!(issue(channel, &mine, &["db"]).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Threat 23
#[tokio::test]
async fn each_rpc_is_for_its_own_callers() {
    let server = Server::start().await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry = server.entry(&agent, "/web").await;
    for channel in [server.tls(None).await, server.tls(Some(&agent)).await] {
        let refused = mint(channel, spiffe_id(TRUST_DOMAIN, "/web"), &["db"], 0).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    for channel in [server.tls(None).await, server.local.clone()] {
        assert_eq!(issue(channel, &entry, &["db"]).await.unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn switched_off_is_unimplemented_before_anything_is_looked_at() {
    let server = Server::configured(|config| config.ca.disable_jwt_svids = true).await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let words = "JWT functionality is disabled";
    is(&mint(server.local.clone(), None, &[], 0).await.unwrap_err(), Code::Unimplemented, words);
    let channel = server.tls(Some(&agent)).await;
    is(&issue(channel, "", &[]).await.unwrap_err(), Code::Unimplemented, words);
}

/// Threat 29: a token costs a signature, so it waits its turn as every signature does.
#[tokio::test]
async fn tokens_wait_for_their_turn() {
    let server = Server::limited(RateLimits { attestation: false, signing: true }).await;
    let agent = server.attest(&server.token().await).await.unwrap();
    let entry = server.entry(&agent, "/web").await;
    let channel = server.tls(Some(&agent)).await;
    // Four seconds of the address's turns, for nothing that costs anything: 500 at once, and 500 a second.
    let params = vec![NewX509svidParams { entry_id: "unknown".to_owned(), csr: vec![1] }; 500];
    for _ in 0..4 {
        let (mut client, params) = (SvidClient::new(channel.clone()), params.clone());
        tokio::spawn(async move { client.batch_new_x509svid(BatchNewX509svidRequest { params }).await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    issue(channel, &entry, &["db"]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}
