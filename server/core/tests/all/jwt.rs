//! JWT-SVIDs: by an agent for its workloads, and by an administrator for anyone's.

use std::sync::Arc;

use plastron_attestation_fake_tpm::Manufacturer;
use plastron_plugins_node_tpm::Pool;
use plastron_server_core::audience::AudienceError;
use plastron_server_core::audit::Recorded;
use plastron_server_core::authorization::{AgentDenial, Caller, rpc};
use plastron_server_core::ca::IssuedJwt;
use plastron_server_core::issuance::JwtRefusal;
use plastron_server_core::minting::{MintError, NotAWorkload};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::{JwtSvid, UnverifiedJwt, validate};

use crate::faults::SlowKeys;
use crate::fixture::{CA_TTL, Disk, START, Server, entry, id, local};
use crate::tpm::{Machine, pool_config};

fn audience(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

async fn issue(server: &Server, agent: &Caller, entry: &str, to: &[&str]) -> Result<Recorded<IssuedJwt>, JwtRefusal> {
    let permit = server.permit::<rpc::NewJwtSvid>(agent).await;
    server.services.issuance.new_jwt_svid(permit, entry, audience(to)).await
}

async fn mint(server: &Server, id: &SpiffeId, to: &[&str], ttl: i32) -> Result<Recorded<IssuedJwt>, MintError> {
    let permit = server.permit::<rpc::MintJwtSvid>(&local()).await;
    server.services.minting.mint_jwt_svid(permit, id, audience(to), ttl).await
}

/// What a workload of the trust domain makes of a token.
fn validated(server: &Server, token: &str, audience: &str) -> JwtSvid {
    let bundle = server.services.bundles.current();
    validate(
        token,
        audience,
        bundle.as_ref(),
        rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(server.clock_now())),
    )
    .unwrap()
}

#[tokio::test]
async fn an_agent_gets_the_token_of_its_entry() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let mut long = entry("/long", &agent, &["unix:uid:1"]);
    (long.jwt_svid_ttl, long.jwt_svid_include_jti) = (900, true);
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"]), long]).await;
    let [web, long] = created.as_slice() else { unreachable!("two entries") };

    let issued = issue(&server, &caller, &web.id, &["db", "", "cache"]).await.unwrap();
    assert_eq!((&issued.id, issued.issued_at, issued.expires_at), (&id("/web"), START, START + 300));
    let svid = validated(&server, &issued.token, "cache");
    assert_eq!((svid.id(), svid.audience()), (&id("/web"), &audience(&["db", "cache"])[..]));
    assert_eq!((svid.expires_at(), svid.key_id()), (START + 300, &*issued.key_id));
    let names: Vec<_> = svid.claims().keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "exp", "iat", "sub"]);

    let issued = issue(&server, &caller, &long.id, &["db"]).await.unwrap();
    assert_eq!(issued.expires_at, START + 900);
    let jti = |token: &str| UnverifiedJwt::parse(token).unwrap().claimed_jti().unwrap().to_owned();
    let again = issue(&server, &caller, &long.id, &["db"]).await.unwrap();
    assert_ne!(jti(&issued.token), jti(&again.token), "each has an identifier of its own");
}

/// Threat 19: an agent speaks for its own workloads.
#[tokio::test]
async fn an_entry_of_another_agent_does_not_exist_for_it() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let (stranger, _) = server.agent().await;
    let mut expired = entry("/old", &agent, &["unix:uid:1"]);
    expired.expires_at = i64::try_from(START + 10).unwrap();
    let created = server.create(vec![entry("/theirs", &stranger, &["unix:uid:1"]), expired]).await;
    server.clock.advance(11);
    let theirs = created.iter().map(|entry| entry.id.as_str());
    for entry in theirs.chain(["", "no-such-entry"]) {
        let refused = issue(&server, &caller, entry, &["db"]).await.unwrap_err();
        assert!(matches!(refused, JwtRefusal::EntryNotFound { .. }), "{entry}: {refused}");
    }
}

/// Threat 25
#[tokio::test]
async fn a_token_is_for_someone() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let entry = &created.first().unwrap().id;
    for nobody in [&[][..], &[""], &["", ""]] {
        let refused = issue(&server, &caller, entry, nobody).await.unwrap_err();
        assert!(matches!(refused, JwtRefusal::Audience(AudienceError::Missing)), "{refused}");
        let refused = mint(&server, &id("/web"), nobody, 0).await.unwrap_err();
        assert!(matches!(refused, MintError::Audience(AudienceError::Missing)), "{refused}");
    }
    let endless = "a".repeat(9000);
    let refused = issue(&server, &caller, entry, &[&endless]).await.unwrap_err();
    assert!(matches!(refused, JwtRefusal::Audience(AudienceError::TooLong { len: 9004 })), "{refused}");
    let refused = mint(&server, &id("/web"), &[&endless], 0).await.unwrap_err();
    assert!(matches!(refused, MintError::Audience(AudienceError::TooLong { len: 9004 })), "{refused}");
    let longest = format!("/{}", "a".repeat(2027));
    let long = mint(&server, &id(&longest), &[&"a".repeat(8188)], 0).await.unwrap();
    assert_eq!(validated(&server, &long.token, &"a".repeat(8188)).id(), &id(&longest));
}

#[tokio::test]
async fn an_administrator_mints_a_token() {
    let server = Disk::new().start().await.unwrap();
    for (ttl, lifetime) in [(0, 300), (-1, 300), (60, 60), (1, 1), (i32::MAX, CA_TTL)] {
        let minted = mint(&server, &id("/web"), &["db"], ttl).await.unwrap();
        assert_eq!((minted.issued_at, minted.expires_at), (START, START + lifetime), "{ttl}");
        assert_eq!(validated(&server, &minted.token, "db").id(), &id("/web"));
    }
}

#[tokio::test]
async fn only_workloads_of_the_trust_domain_are_minted_for() {
    let server = Disk::new().start().await.unwrap();
    let trust_domain = crate::fixture::trust_domain();
    let refusal = |error| match error {
        MintError::NotAWorkload(reason) => reason,
        other => unreachable!("{other}"),
    };
    let foreign = SpiffeId::parse("spiffe://example.com/web").unwrap();
    let refused = refusal(mint(&server, &foreign, &["db"], 0).await.unwrap_err());
    let expected = NotAWorkload::OtherTrustDomain { id: foreign, trust_domain: trust_domain.clone() };
    assert_eq!(refused, expected);
    let refused = refusal(mint(&server, &trust_domain.id(), &["db"], 0).await.unwrap_err());
    assert!(matches!(refused, NotAWorkload::RootPath { .. }));
    for path in ["/spire", "/spire/server", "/spire/agent/x509pop/a"] {
        let refused = refusal(mint(&server, &id(path), &["db"], 0).await.unwrap_err());
        assert!(matches!(refused, NotAWorkload::Reserved { .. }), "{path}");
    }
}

/// Threat 27: the ban is committed while the token's signature is being made.
#[tokio::test]
async fn a_ban_during_the_signature_of_a_token_wins() {
    let mut disk = Disk::new();
    let slow = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&slow) as _;
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let permit = server.permit::<rpc::NewJwtSvid>(&caller).await;
    let late = server.permit::<rpc::NewJwtSvid>(&caller).await;
    let gate = slow.hold();
    let (services, entry) = (Arc::clone(&server.services), created.first().unwrap().id.clone());
    let under_way =
        tokio::spawn(async move { services.issuance.new_jwt_svid(permit, &entry, audience(&["db"])).await });
    slow.somebody_waits().await;
    let ban = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(ban, agent.clone()).await.unwrap();
    drop(gate);
    let refused = under_way.await.unwrap().unwrap_err();
    let JwtRefusal::Agent { id, reason } = refused else { unreachable!("{refused}") };
    assert_eq!((id, reason), (agent, AgentDenial::Banned));
    // And after it, a permit that is older than the ban costs no signature.
    let before = slow.signers().len();
    let entry = &created.first().unwrap().id;
    let refused = server.services.issuance.new_jwt_svid(late, entry, audience(&["db"])).await.unwrap_err();
    assert!(matches!(refused, JwtRefusal::Agent { reason: AgentDenial::Banned, .. }), "{refused}");
    assert_eq!(slow.signers().len(), before);
}

/// Threat 27: the ban is committed while the token's audit line is being written.
#[tokio::test]
async fn a_ban_while_a_token_is_recorded_wins() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let permit = server.permit::<rpc::NewJwtSvid>(&caller).await;
    let ban = server.permit::<rpc::BanAgent>(&local()).await;
    let held = disk.audit.hold();
    let (services, entry) = (Arc::clone(&server.services), created.first().unwrap().id.clone());
    let under_way =
        tokio::spawn(async move { services.issuance.new_jwt_svid(permit, &entry, audience(&["db"])).await });
    disk.audit.somebody_waits().await;
    server.services.nodes.ban(ban, agent).await.unwrap();
    drop(held);
    let refused = under_way.await.unwrap().unwrap_err();
    assert!(matches!(refused, JwtRefusal::Agent { reason: AgentDenial::Banned, .. }), "{refused}");
}

/// Threat 12: whatever a judged node gets ends with its verdict.
#[tokio::test]
async fn a_token_ends_with_the_verdict_of_its_node() {
    let manufacturer = Manufacturer::new("Turtle");
    let disk = Disk { pools: vec![Pool::new(pool_config(&manufacturer, None)).unwrap()], ..Disk::new() };
    let server = disk.start().await.unwrap();
    let judged = Machine::new(&manufacturer).attest(&server).await.unwrap().svid;
    let caller = server.caller(&judged);
    let created = server.create(vec![entry("/web", &judged.id, &["unix:uid:1"])]).await;
    let entry = &created.first().unwrap().id;
    assert_eq!(issue(&server, &caller, entry, &["db"]).await.unwrap().expires_at, START + 300);
    server.clock.advance(judged.not_after - START - 60);
    assert_eq!(issue(&server, &caller, entry, &["db"]).await.unwrap().expires_at, judged.not_after);
}

/// No audit, no issuance; and a token is nowhere in the log that tells of it.
#[tokio::test]
async fn no_token_leaves_unrecorded() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let entry = &created.first().unwrap().id;
    let issued = issue(&server, &caller, entry, &["db"]).await.unwrap();
    let minted = mint(&server, &id("/web"), &["db"], 0).await.unwrap();
    let lines = disk.audit.lines();
    for (token, purpose) in [(&issued.token, "purpose=\"workload\""), (&minted.token, "purpose=\"mint\"")] {
        let hash = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()).as_ref());
        let told = lines.iter().filter(|line| line.contains(&hash)).collect::<Vec<_>>();
        let [line] = told.as_slice() else { unreachable!("one line: {told:?}") };
        assert!(line.contains("jwt-svid issue") && line.contains(purpose) && line.contains("/web"), "{line}");
        let signature = token.rsplit_once('.').unwrap().1;
        assert!(lines.iter().all(|line| !line.contains(signature)), "a token in the log");
    }
    let permit = server.permit::<rpc::MintJwtSvid>(&local()).await;
    disk.audit.fill();
    let refused = issue(&server, &caller, entry, &["db"]).await.unwrap_err();
    assert!(matches!(refused, JwtRefusal::Audit(_)), "{refused}");
    let minted = server.services.minting.mint_jwt_svid(permit, &id("/web"), audience(&["db"]), 0).await;
    let refused = minted.unwrap_err();
    assert!(matches!(refused, MintError::Audit(_)), "{refused}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
