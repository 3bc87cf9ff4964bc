//! No audit, no issuance: nothing leaves while its line can't be written, nothing is lost by that, and it heals by itself.

use std::sync::Arc;

use plastron_server_core::StartError;
use plastron_server_core::admission::{AdmissionError, RenewalError};
use plastron_server_core::audit::AuditSinkError;
use plastron_server_core::authorization::{Caller, Denied, Effect, Method, rpc};
use plastron_server_core::ca::CaError;
use plastron_server_core::health::{NotReady, Obstacle};
use plastron_server_core::issuance::{BatchRefusal, SvidRequest};

use crate::fixture::{CA_TTL, Disk, Server, anonymous, csr, entry, id, local};

/// Longer than the time between two attempts at a broken sink.
const PROBED_AGAIN: std::time::Duration = std::time::Duration::from_millis(1100);

async fn batch(server: &Server, caller: &Caller, ids: &[&str]) -> Result<usize, BatchRefusal> {
    let permit = server.permit::<rpc::BatchNewX509Svid>(caller).await;
    let one = csr(&[]);
    let requests = ids.iter().map(|id| SvidRequest { entry_id: (*id).to_owned(), csr: one.clone() }).collect();
    let results = server.services.issuance.batch_new_x509_svid(permit, requests).await?;
    Ok(results.iter().filter(|result| result.is_ok()).count())
}

/// Which RPCs are refused while the audit log can't be written, and which take rights away and are not. After a deliberate change:
/// `UPDATE_GOLDEN=1 cargo test -p plastron-server-core`.
#[test]
fn what_is_refused_unrecorded_is_the_reviewed_list() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/effects.txt");
    let of = |effect| Method::ALL.iter().filter(move |method| method.effect() == effect).map(|method| method.path());
    let rendered: String =
        [("refused", Effect::Extends), ("done and recorded later", Effect::Reduces), ("done", Effect::None)]
            .into_iter()
            .flat_map(|(title, effect)| {
                std::iter::once(format!("# {title}\n")).chain(of(effect).map(|path| format!("{path}\n")))
            })
            .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &rendered).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap(), rendered);
}

#[tokio::test]
async fn a_batch_is_one_write_with_a_line_for_each_item() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let web = created.first().unwrap().id.clone();
    let (before, seen) = (disk.audit.writes(), disk.audit.lines());
    assert_eq!(batch(&server, &caller, &[&web, "no such\nentry", &web]).await, Ok(2));
    assert_eq!(disk.audit.writes().get(before.len()..), Some([3].as_slice()), "one write");
    let lines = disk.audit.lines();
    let [first, refused, second] = lines.get(seen.len()..).unwrap() else { unreachable!("three lines: {lines:?}") };
    for line in [first, second] {
        let authority = server.services.ca.authority().authority_id().to_owned();
        for part in [
            "\"SVID issued\"".to_owned(),
            format!("actor=\"{agent}\""),
            "event=\"x509-svid issue\"".to_owned(),
            "purpose=\"workload\"".to_owned(),
            "outcome=\"ok\"".to_owned(),
            "spiffe_id=\"spiffe://example.org/web\"".to_owned(),
            format!("entry_id=\"{web}\""),
            format!("authority_id=\"{authority}\""),
            format!("not_after={}", server.clock_now() + 3600),
            "serial=\"".to_owned(),
        ] {
            assert!(line.contains(&part), "{part} in {line}");
        }
    }
    assert!(
        refused.contains("entry_id=\"no such\\\\nentry\"") && refused.contains("outcome=\"entry not found"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_batch_whose_lines_fail_leaves_nothing() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let web = created.first().unwrap().id.clone();
    assert_eq!(batch(&server, &caller, &[&web]).await, Ok(1));
    disk.audit.fail_at(1);
    let refused = batch(&server, &caller, &[web.as_str(); 50]).await.unwrap_err();
    assert!(matches!(refused, BatchRefusal::Audit(_)), "{refused:?}");
    // One line that was written heals it.
    assert_eq!(batch(&server, &caller, &[&web]).await, Ok(1));
    let resumed = disk.audit.lines().into_iter().find(|line| line.contains("audit log resumed")).unwrap();
    assert!(resumed.contains("since=\"2026-06-01T00:00:00Z\"") && resumed.contains("No space left"), "{resumed}");
}

/// The token is not spent by an attestation whose SVID could not be recorded, whichever write it is that fails.
#[tokio::test]
async fn a_node_whose_svid_was_not_recorded_attests_again_with_the_same_token() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let token = server.token(None).await;
    disk.audit.fail_at(1);
    let refused = server.attest(&token, &csr(&[])).await.map(drop).unwrap_err();
    assert!(matches!(refused, AdmissionError::Audit(_)), "{refused:?}");
    let permit = server.permit::<rpc::CountAgents>(&local()).await;
    assert_eq!(server.services.nodes.count(permit, &Default::default()), 0, "it was not admitted");
    server.attest(&token, &csr(&[])).await.unwrap();
    server.attest(&token, &csr(&[])).await.map(drop).unwrap_err();
}

/// Threat 34: the line is written before the token is spent, and the transaction may still fail.
#[tokio::test]
async fn the_line_of_a_nodes_svid_does_not_repeat_its_token() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let token = server.token(None).await;
    let svid = server.attest(&token, &csr(&[])).await.unwrap().svid;
    let lines = disk.audit.lines();
    let line = lines.iter().find(|line| line.contains("purpose=\"node attestation\"")).unwrap();
    assert!(line.contains(&format!("serial=\"{}\"", svid.serial.to_decimal())), "{line}");
    assert!(line.contains("actor=\"join_token node\""), "{line}");
    assert!(!lines.concat().contains(&token));
}

/// The agent keeps its SVID, whose serial number was not replaced by one that it never got.
#[tokio::test]
async fn a_renewal_that_was_not_recorded_replaces_nothing() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (_agent, caller) = server.agent().await;
    let permit = server.permit::<rpc::RenewAgent>(&caller).await;
    disk.audit.fail_at(1);
    let refused = server.services.admission.renew(permit, &csr(&[])).await.map(drop).unwrap_err();
    assert!(matches!(refused, RenewalError::Audit(_)), "{refused:?}");
    let permit = server.permit::<rpc::RenewAgent>(&caller).await;
    let renewed = server.services.admission.renew(permit, &csr(&[])).await.unwrap();
    server.permit::<rpc::PostStatus>(&server.caller(&renewed)).await;
}

/// Where the log is known to be broken, what gives rights is refused before it is begun; what takes them is done.
#[tokio::test]
async fn rights_can_be_taken_and_not_given_while_nothing_is_recorded() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let (agent, agent_caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    disk.audit.fill();
    disk.audit.break_unheard();
    let denied = |result: Result<(), Denied>| assert!(matches!(result, Err(Denied::Unrecorded(_))), "{result:?}");
    let authorizer = &server.services.authorizer;
    denied(authorizer.authorize::<rpc::AttestAgent>(&anonymous()).await.map(drop));
    denied(authorizer.authorize::<rpc::BatchNewX509Svid>(&agent_caller).await.map(drop));
    denied(authorizer.authorize::<rpc::BatchCreateEntry>(&local()).await.map(drop));
    denied(authorizer.authorize::<rpc::CreateJoinToken>(&local()).await.map(drop));
    denied(authorizer.authorize::<rpc::DeleteAgent>(&local()).await.map(drop));
    denied(authorizer.authorize_path("/spire.api.server.agent.v1.Agent/CreateJoinToken", &local()).await);
    // Who may not call at all is told that.
    let refused = authorizer.authorize::<rpc::CreateJoinToken>(&anonymous()).await.map(drop);
    assert!(matches!(refused, Err(Denied::Method { .. })), "{refused:?}");

    let permit = server.permit::<rpc::SyncAuthorizedEntries>(&agent_caller).await;
    assert_eq!(server.services.registration.authorized_entries(&permit).len(), 1);
    let permit = server.permit::<rpc::BatchDeleteEntry>(&local()).await;
    let ids = vec![created.first().unwrap().id.clone()];
    assert!(server.services.registration.delete(permit, ids).await.unwrap().iter().all(Result::is_ok));
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(permit, agent).await.unwrap();
}

/// `/ready` says why and since when, and it heals without a call by anyone.
#[tokio::test]
async fn readiness_names_the_reason_and_comes_back() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    server.services.health.check().await.unwrap();
    disk.audit.fill();
    disk.audit.break_unheard();
    let tried = disk.audit.writes().len();
    for _ in 0..20 {
        let unhealthy = server.services.health.check().await.unwrap_err();
        let NotReady::FromCache(from_cache) = unhealthy.as_ref() else {
            unreachable!("it serves what it has: {unhealthy}")
        };
        let Obstacle::Audit(source) = &from_cache.obstacle else { unreachable!("the log is the reason") };
        assert_eq!(
            source.to_string(),
            "the audit log can't be written since 2026-06-01T00:00:00Z: No space left on device (os error 28)"
        );
    }
    assert_eq!(disk.audit.writes().len(), tried + 1, "it is tried once a second, however often it is asked for");
    disk.audit.free();
    tokio::time::sleep(PROBED_AGAIN).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let maintained = tokio::spawn(Arc::clone(&server.services).maintain(stop.clone()));
    // Nobody asks.
    let resumed = || disk.audit.lines().iter().any(|line| line.contains("audit log resumed"));
    for _ in 0..250 {
        if resumed() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(resumed());
    stop.cancel();
    maintained.await.unwrap();
    server.services.health.check().await.unwrap();
    server.token(Some(id("/alias"))).await;
}

/// An authority signs nothing before the log has its activation; the next attempt goes on from there.
#[tokio::test]
async fn no_authority_is_activated_unrecorded() {
    let disk = Disk::new();
    disk.audit.fill();
    let refused = disk.start().await.err().unwrap();
    assert!(matches!(refused, StartError::Ca(CaError::Audit(_))), "{refused:?}");
    disk.audit.free();
    let server = disk.start().await.unwrap();
    let first = server.services.ca.authority().authority_id().to_owned();
    server.clock.advance(CA_TTL * 7 / 8);
    disk.audit.fill();
    server.services.rotate().await;
    assert_eq!(server.services.ca.authority().authority_id(), first, "the old one signs on");
    disk.audit.free();
    server.services.rotate().await;
    let next = server.services.ca.authority().authority_id().to_owned();
    assert_ne!(next, first);
    let mut announced = disk.audit.lines().into_iter().filter(|line| line.contains("x509 authority activate"));
    assert!(announced.next_back().unwrap().contains(&next));
}

/// The server's own SVID is replaced all the same: it stays in the process, and without it nobody could be told why nothing is issued.
#[tokio::test]
async fn the_servers_own_svid_does_not_wait_for_the_log() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let before = server.services.server_svid.subscribe().borrow().not_after;
    server.clock.advance(1900);
    disk.audit.fill();
    server.services.rotate().await;
    assert!(server.services.server_svid.subscribe().borrow().not_after > before);
}

#[test]
fn the_reason_is_one_line() {
    let error = AuditSinkError { since: u64::MAX, reason: "x".to_owned() };
    assert_eq!(error.to_string(), format!("the audit log can't be written since {}: x", u64::MAX));
}
