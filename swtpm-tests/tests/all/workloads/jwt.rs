//! JWT-SVIDs from the server's key to a workload, and from there to one that validates them.

use std::collections::BTreeSet;
use std::path::Path;

use plastron_agent_cli::{Endpoint, connect};
use plastron_proto::workload::JwtsvidRequest;
use plastron_spiffe::jwt::UnverifiedJwt;
use serde_json::Value;
use tonic::Code;

use super::testbed::{Agent, PATIENCE, TRUST_DOMAIN, Testbed, eventually, own_uid, path_of, workload_program};

/// `api fetch jwt` as this program; token by SPIFFE ID, in order, and the bundles. `Err` is what it said on standard error.
fn fetch(agent: &Agent, workload: &Path, arguments: &[&str]) -> Result<(Vec<(String, String)>, Value), String> {
    let arguments = [arguments, &["-output", "json"]].concat();
    let output = agent.api_as(workload, &["fetch", "jwt"], &arguments);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tokens = json[0]["svids"].as_array().unwrap();
    let tokens = tokens.iter().map(|token| (text(&token["spiffe_id"]), text(&token["svid"]))).collect();
    Ok((tokens, json[1]["bundles"].clone()))
}

#[test]
fn a_workload_fetches_a_token_by_audience_and_another_validates_it() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let (web, db) = (workload_program(&bed.path(""), "web"), workload_program(&bed.path(""), "db"));
    bed.entry(&node, "/web", &[&path_of(&web)], &["-jwtSVIDTTL", "120"]);
    bed.entry(&node, "/db", &[&path_of(&db)], &[]);
    agent.await_id(&web, "/web");
    agent.await_id(&db, "/db");

    let (tokens, bundles) = fetch(&agent, &web, &["-audience", "db,cache"]).unwrap();
    let [(id, token)] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!(*id, format!("spiffe://{TRUST_DOMAIN}/web"));
    assert!(bundles[format!("spiffe://{TRUST_DOMAIN}")].is_string(), "{bundles}");
    let again = fetch(&agent, &web, &["-audience", "cache,db"]).unwrap().0;
    assert_eq!(again, tokens, "the token is kept");

    // Its receiver.
    let validate = |audience: &str, token: &str| {
        agent.api_as(&db, &["validate", "jwt"], &["-audience", audience, "-svid", token, "-output", "json"])
    };
    let valid = validate("db", token);
    assert!(valid.status.success(), "{valid:?}");
    let json: Value = serde_json::from_slice(&valid.stdout).unwrap();
    assert_eq!(json["spiffe_id"].as_str().unwrap(), id);
    assert_eq!(json["claims"]["aud"], serde_json::json!(["cache", "db"]));
    let (issued, expires) = (json["claims"]["iat"].as_u64().unwrap(), json["claims"]["exp"].as_u64().unwrap());
    assert_eq!(expires - issued, 120);

    // Somebody for whom it is not, and one who changed it.
    let refused = validate("other", token);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.starts_with("SVID is not valid: expected audience in"), "{error}");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{signed}.{other}{}", &signature[1..]);
    assert_eq!(validate("db", &changed).status.code(), Some(5));

    // What is not the workload's.
    let theirs = fetch(&agent, &web, &["-audience", "x", "-spiffeID", &format!("spiffe://{TRUST_DOMAIN}/db")]);
    assert!(theirs.unwrap_err().contains("code = PermissionDenied desc = no identity issued"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hundred_callers_get_the_same_token_by_one_signature() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    bed.entry(&node, "/test", &[&own_uid()], &[]);
    let own = workload_program(&bed.path(""), "own");
    agent.await_id(&own, "/test");
    let request = |audience: &str| JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let mut calls = Vec::new();
    for _ in 0..10 {
        let client = connect(&Endpoint::Unix(agent.socket())).await.unwrap();
        for _ in 0..10 {
            let (mut client, request) = (client.clone(), request("x"));
            calls.push(tokio::spawn(async move { client.fetch_jwtsvid(request).await.unwrap().into_inner().svids }));
        }
    }
    let mut tokens = BTreeSet::new();
    for call in calls {
        tokens.extend(call.await.unwrap().into_iter().map(|svid| svid.svid));
    }
    // ECDSA signatures of the same claims differ: one token is one signature.
    assert_eq!(tokens.len(), 1);
}

/// A token is handed out while the server is away, and a new one as soon as it is back.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlast_an_outage_of_the_server() {
    let mut bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    bed.entry(&node, "/test", &[&own_uid()], &["-jwtSVIDTTL", "30"]);
    let own = workload_program(&bed.path(""), "own");
    agent.await_id(&own, "/test");
    let mut client = connect(&Endpoint::Unix(agent.socket())).await.unwrap();
    let request = || JwtsvidRequest { audience: vec!["x".to_owned()], spiffe_id: String::new() };
    let first = client.fetch_jwtsvid(request()).await.unwrap().into_inner();
    bed.kill_server();
    // Beyond half of its life, when a new one is asked for in vain.
    tokio::time::sleep(std::time::Duration::from_secs(16)).await;
    assert_eq!(client.fetch_jwtsvid(request()).await.unwrap().into_inner(), first);
    bed.start_server();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match client.fetch_jwtsvid(request()).await {
            Ok(reply) if reply.get_ref().svids[0].svid != first.svids[0].svid => break,
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// What an operator revokes is gone from workloads' hands at the agent's next word from the server.
#[test]
fn a_deleted_entry_takes_its_tokens_with_it() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let web = workload_program(&bed.path(""), "web");
    let entry = bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    agent.await_id(&web, "/web");
    fetch(&agent, &web, &["-audience", "x"]).unwrap();
    bed.server_cli(&["entry", "delete", "-entryID", &entry]);
    let error = eventually("the token to be withdrawn", || fetch(&agent, &web, &["-audience", "x"]).err());
    assert!(error.contains("no identity issued"), "{error}");
}

/// What a tainted authority signed is replaced, and what a revoked one signed no longer validates, at the agent's next word from the server.
#[test]
fn a_tainted_authoritys_tokens_are_replaced_and_a_revoked_ones_refused() {
    let bed = Testbed::start("");
    let agent = bed.start_agent();
    let node = bed.only_node();
    let web = workload_program(&bed.path(""), "web");
    bed.entry(&node, "/web", &[&path_of(&web)], &[]);
    agent.await_id(&web, "/web");
    let token = || fetch(&agent, &web, &["-audience", "x"]).unwrap().0.remove(0).1;
    let valid =
        |token: &str| agent.api_as(&web, &["validate", "jwt"], &["-audience", "x", "-svid", token]).status.success();
    let local = |verb: &str, authority: Option<&str>| -> Value {
        let mut arguments = vec!["localauthority", "jwt", verb, "-output", "json"];
        arguments.extend(authority.iter().flat_map(|id| ["-authorityID", id]));
        serde_json::from_str(&bed.server_cli(&arguments)).unwrap()
    };
    let old = token();
    let first = local("show", None)["active"]["authority_id"].as_str().unwrap().to_owned();
    assert_eq!(UnverifiedJwt::parse(&old).unwrap().claimed_key_id(), first);

    let second = local("prepare", None)["prepared_authority"]["authority_id"].as_str().unwrap().to_owned();
    local("activate", Some(&second));
    assert_eq!(token(), old, "a new authority is no reason for a new token");
    local("taint", Some(&first));
    eventually("the tainted authority's token to be replaced", || {
        (UnverifiedJwt::parse(&token()).unwrap().claimed_key_id() == second).then_some(())
    });
    assert!(valid(&old), "what peers hold is good until its authority is revoked");
    local("revoke", Some(&first));
    eventually("the revoked authority's token to be refused", || (!valid(&old)).then_some(()));
    assert!(valid(&token()));
}
