//! Join tokens, bans, renewals: what races must not change.

use std::sync::Arc;

use plastron_server_core::admission::{AdmissionError, RenewalError};
use plastron_server_core::authorization::{AgentDenial, Denied, rpc};
use plastron_server_core::store::{AdmitError, NodeError};
use tokio::task::JoinSet;

use crate::faults::{FaultyStore, SlowKeys, Step};
use crate::fixture::{Disk, anonymous, csr, entry, forged_csr, id, local};

/// Threat 21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hundred_nodes_with_one_token_and_one_is_admitted() {
    let server = Arc::new(Disk::new().start().await.unwrap());
    let token = server.token(None).await;
    let before = server.store.statistics().commits;
    let mut attempts = JoinSet::new();
    for _ in 0..100 {
        let (server, token) = (Arc::clone(&server), token.clone());
        attempts.spawn(async move { server.attest(&token, &csr(&[])).await });
    }
    let results = attempts.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused =
        |result: &&Result<_, AdmissionError>| matches!(result, Err(AdmissionError::Admit(AdmitError::TokenUnknown)));
    assert_eq!(results.iter().filter(refused).count(), 99);
    assert_eq!(server.store.statistics().commits - before, 1, "one attestation, one commit");
}

/// Threat 21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_file_admit_one_node() {
    let disk = Disk::new();
    let first = Arc::new(disk.start().await.unwrap());
    let token = first.token(None).await;
    // The second server has its own connections and its own state; the keys are shared as a token's would be.
    let second = Arc::new(disk.start().await.unwrap());
    let mut attempts = JoinSet::new();
    for index in 0..100 {
        let server = Arc::clone(if index % 2 == 0 { &first } else { &second });
        let token = token.clone();
        attempts.spawn(async move { server.attest(&token, &csr(&[])).await.is_ok() });
    }
    let admitted = attempts.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(admitted, 1);
    first.services.ledger.catch_up().await.unwrap();
    second.services.ledger.catch_up().await.unwrap();
    let node = id(&format!("/spire/agent/join_token/{token}"));
    for server in [&first, &second] {
        assert!(server.services.ledger.state().node(&node).is_some(), "both servers know the node");
    }
}

#[tokio::test]
async fn a_token_expires() {
    let server = Disk::new().start().await.unwrap();
    let token = server.token(None).await;
    server.clock.advance(601);
    let error = server.attest(&token, &csr(&[])).await.unwrap_err();
    assert_eq!(error.to_string(), "join token does not exist or has already been used");
}

/// The alias entry is written by the transaction that spends the token, and not before.
#[tokio::test]
async fn an_alias_begins_with_its_node() {
    let server = Disk::new().start().await.unwrap();
    let token = server.token(Some(id("/rack-7"))).await;
    let permit = server.permit::<rpc::CountEntries>(&local()).await;
    assert_eq!(server.services.registration.count(permit, &Default::default()), 0);
    let workload = entry("/web", &id("/rack-7"), &["unix:uid:1000"]);
    server.create(vec![workload]).await;
    let svid = server.attest(&token, &csr(&[])).await.unwrap().svid;
    let permit = server.permit::<rpc::GetAuthorizedEntries>(&server.caller(&svid)).await;
    let mut ids: Vec<_> =
        server.services.registration.authorized_entries(&permit).iter().map(|e| e.spiffe_id.clone()).collect();
    ids.sort();
    assert_eq!(ids, [id("/rack-7"), id("/web")]);
}

/// Threat 37
#[tokio::test]
async fn a_csr_without_proof_of_possession_gets_nothing() {
    let server = Disk::new().start().await.unwrap();
    let token = server.token(None).await;
    assert!(matches!(server.attest(&token, &forged_csr()).await, Err(AdmissionError::Csr(_))));
    // Nothing was spent on it.
    let svid = server.attest(&token, &csr(&[])).await.unwrap().svid;
    let permit = server.permit::<rpc::RenewAgent>(&server.caller(&svid)).await;
    let renewed = server.services.admission.renew(permit, &forged_csr()).await;
    assert!(matches!(renewed, Err(RenewalError::Csr(_))));
}

/// Threat 26: the SVID before is good until the new one is used, and never after.
#[tokio::test]
async fn a_renewed_serial_number_replaces_the_old_one_on_first_use() {
    let server = Disk::new().start().await.unwrap();
    let (agent, old) = server.agent().await;
    let permit = server.permit::<rpc::RenewAgent>(&old).await;
    let renewed = server.services.admission.renew(permit, &csr(&[])).await.unwrap();
    assert_eq!(renewed.id, agent);
    let new = server.caller(&renewed);
    server.permit::<rpc::GetAuthorizedEntries>(&old).await;
    server.permit::<rpc::GetAuthorizedEntries>(&new).await;
    let denied = server.services.authorizer.authorize::<rpc::GetAuthorizedEntries>(&old).await.unwrap_err();
    assert_eq!(denied, Denied::Agent { id: agent, reason: AgentDenial::NotActive });
}

/// Threat 27: the ban is committed while the renewal's signature is being made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_during_a_renewal_wins() {
    let mut disk = Disk::new();
    let slow = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&slow) as _;
    let server = Arc::new(disk.start().await.unwrap());
    let (agent, caller) = server.agent().await;
    let gate = slow.hold();
    let permit = server.permit::<rpc::RenewAgent>(&caller).await;
    let renewing = Arc::clone(&server);
    let renewal = tokio::spawn(async move { renewing.services.admission.renew(permit, &csr(&[])).await });
    slow.somebody_waits().await;
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(permit, agent.clone()).await.unwrap();
    drop(gate);
    let error = renewal.await.unwrap().unwrap_err();
    assert!(matches!(error, RenewalError::Node(NodeError::Banned { .. })), "{error}");
    let denied = server.services.authorizer.authorize::<rpc::GetAuthorizedEntries>(&caller).await.unwrap_err();
    assert_eq!(denied, Denied::Agent { id: agent, reason: AgentDenial::Banned });
}

#[tokio::test]
async fn an_evicted_node_is_not_attested() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let permit = server.permit::<rpc::DeleteAgent>(&local()).await;
    server.services.nodes.evict(permit, agent.clone()).await.unwrap();
    let denied = server.services.authorizer.authorize::<rpc::RenewAgent>(&caller).await.unwrap_err();
    assert_eq!(denied, Denied::Agent { id: agent.clone(), reason: AgentDenial::NotAttested });
    let permit = server.permit::<rpc::DeleteAgent>(&local()).await;
    assert_eq!(server.services.nodes.evict(permit, agent.clone()).await, Err(NodeError::NotFound { id: agent }));
}

#[tokio::test]
async fn an_attestor_that_is_not_there_is_named() {
    let server = Disk::new().start().await.unwrap();
    let permit = server.permit::<rpc::AttestAgent>(&anonymous()).await;
    let refused = server.services.admission.begin(permit, "tpm_devid\n", &csr(&[]), None);
    let text = refused.err().unwrap().to_string();
    assert_eq!(text, "error getting node attestor: could not find node attestor type \"tpm_devid\\n\"");
}

/// A connection that closes in the middle must leave memory and store the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_attestation_is_whole_or_not_at_all() {
    let disk = Disk::new();
    let server = Arc::new(disk.start().await.unwrap());
    for step in 0..12_u64 {
        let token = server.token(None).await;
        let attesting = Arc::clone(&server);
        let attempt =
            tokio::spawn(async move { attesting.attest(&token, &csr(&[])).await.map(|agent| agent.svid.id.clone()) });
        tokio::time::sleep(std::time::Duration::from_micros(step * 300)).await;
        attempt.abort();
        let _ended = attempt.await;
    }
    // The write that may still be under way comes before this one.
    server.token(None).await;
    let reloaded = plastron_server_core::ledger::Ledger::open(disk.store().await).await.unwrap();
    assert_eq!(server.services.ledger.state().revision(), reloaded.state().revision());
    let permit = server.permit::<rpc::ListAgents>(&local()).await;
    let in_memory = server.services.nodes.list(permit, &Default::default(), &Default::default()).unwrap().items;
    assert!(in_memory.iter().all(|node| reloaded.state().node(&node.id).as_ref() == Some(node)));
}

/// A ban that is committed counts, and is reported as done, though what another process wrote before it can't be read yet.
#[tokio::test]
async fn a_committed_ban_counts_while_the_log_cant_be_followed() {
    use plastron_server_core::store::EntryStore as _;
    let disk = Disk::new();
    let store = FaultyStore::over(disk.store().await, Step::Follow, 0);
    let server = disk.start_on(Arc::clone(&store) as _).await.unwrap();
    let (agent, caller) = server.agent().await;
    store.arm(1);
    let mut other = crate::fixture::entry("/other", &agent, &["unix:uid:1"]);
    other.id = "by-another-process".to_owned();
    disk.store().await.create_entries(vec![other]).await.unwrap();
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    assert!(server.services.nodes.ban(permit, agent.clone()).await.unwrap().is_banned());
    server.services.authorizer.authorize::<rpc::SyncAuthorizedEntries>(&caller).await.unwrap_err();
    let state = server.services.ledger.state();
    assert!(state.entry("by-another-process").is_none(), "the fault was there");
    server.services.ledger.catch_up().await.unwrap();
    assert!(state.entry("by-another-process").is_some());
    assert!(state.node(&agent).unwrap().is_banned());
}
