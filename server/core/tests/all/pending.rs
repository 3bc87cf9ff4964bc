//! TPMs that wait for a person.

use std::sync::Arc;

use plastron_attestation_appraise::Check;
use plastron_attestation_fake_tpm::Manufacturer;
use plastron_plugins_node_tpm::{Approval, Pool, PoolConfig};
use plastron_server_core::admission::{AdmissionError, AdmittedAgent};
use plastron_server_core::authorization::rpc;
use plastron_server_core::pending::DecideError;
use plastron_server_core::store::{AdmitError, DecisionVerdict, NeedsApproval, PendingError, PendingTpm};
use plastron_spiffe::SpiffeId;

use crate::faults::SlowKeys;
use crate::fixture::{Disk, Server, id, local};
use crate::tpm::{Machine, pool_config};

fn disk(manufacturer: &Manufacturer, change: impl FnOnce(&mut PoolConfig)) -> Disk {
    let mut config = pool_config(manufacturer, None);
    change(&mut config);
    Disk { pools: vec![Pool::new(config).unwrap()], ..Disk::new() }
}

async fn list(server: &Server) -> Vec<PendingTpm> {
    server.services.pending.list(server.permit::<rpc::ListPendingTpms>(&local()).await).await.unwrap()
}

async fn approve(server: &Server, id: &SpiffeId, reason: &str) -> Result<PendingTpm, DecideError> {
    let permit = server.permit::<rpc::ApprovePendingTpm>(&local()).await;
    server.services.pending.approve(permit, id.clone(), reason.to_owned()).await
}

async fn reject(server: &Server, id: &SpiffeId) -> PendingTpm {
    let permit = server.permit::<rpc::RejectPendingTpm>(&local()).await;
    server.services.pending.reject(permit, id.clone(), "not ours".to_owned()).await.unwrap()
}

/// The SPIFFE ID that a TPM waits for.
fn pending(result: Result<AdmittedAgent, AdmissionError>) -> (SpiffeId, NeedsApproval) {
    match result {
        Err(AdmissionError::Admit(AdmitError::Pending { id, asks_for })) => (id, asks_for),
        other => unreachable!("pending, not {other:?}"),
    }
}

#[tokio::test]
async fn a_new_node_waits_for_a_person_and_is_admitted_once() {
    let manufacturer = Manufacturer::new("Turtle");
    let mut disk = disk(&manufacturer, |config| config.new_nodes = Approval::ByPerson);
    let keys = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&keys) as _;
    let server = disk.start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let signed = keys.signers().len();
    let (id, asks_for) = pending(machine.attest(&server).await);
    assert_eq!(asks_for, NeedsApproval::NewNode);
    assert!(server.services.ledger.state().node(&id).is_none(), "nothing is issued before");
    let again = machine.attest(&server).await;
    assert_eq!(again.as_ref().unwrap_err().check(), Some(Check::Approval));
    assert_eq!(pending(again).0, id);
    let listed = list(&server).await;
    assert_eq!(listed.len(), 1, "one row for one EK");
    assert_eq!((listed[0].id.clone(), listed[0].attempts, listed[0].decision.clone()), (id.clone(), 2, None));
    assert_eq!(listed[0].proved.pool, "metal");

    assert_eq!(reject(&server, &id).await.decision.unwrap().verdict, DecisionVerdict::Rejected);
    let refused = machine.attest(&server).await.unwrap_err();
    assert!(matches!(&refused, AdmissionError::Admit(AdmitError::Rejected { reason, .. }) if reason == "not ours"));
    assert_eq!(keys.signers().len(), signed, "nothing is signed before");

    // An approval outlives a restart, and is for this TPM alone.
    let decided = approve(&server, &id, "seen in rack 7").await.unwrap().decision.unwrap();
    assert!(!decided.by.is_empty() && decided.reason == "seen in rack 7", "{decided:?}");
    let server = disk.start().await.unwrap();
    pending(Machine::new(&manufacturer).attest(&server).await);
    assert_eq!(machine.attest(&server).await.unwrap().svid.id, id);
    assert!(list(&server).await.iter().all(|waiting| waiting.id != id), "used up");
    // A renewal asks nobody.
    machine.attest(&server).await.unwrap();
    let permit = server.permit::<rpc::DeleteAgent>(&local()).await;
    server.services.nodes.evict(permit, id.clone()).await.unwrap();
    assert_eq!(pending(machine.attest(&server).await).0, id);
}

/// Threat 9: another AK takes over a node only if a person says so, where the pool asks for that.
#[tokio::test]
async fn another_ak_waits_for_a_person_and_the_enrolled_one_goes_on() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, |config| config.new_ak = Approval::ByPerson).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let id = machine.attest(&server).await.unwrap().svid.id.clone();
    let reinstalled = machine.reinstalled();
    assert_eq!(pending(reinstalled.attest(&server).await), (id.clone(), NeedsApproval::NewAk));
    machine.attest(&server).await.unwrap();
    approve(&server, &id, "disk was replaced").await.unwrap();
    assert_eq!(reinstalled.attest(&server).await.unwrap().svid.id, id);
    assert!(list(&server).await.is_empty());
}

/// An approval is an answer to what was asked: that of a new node lets no other AK in.
#[tokio::test]
async fn an_approval_answers_one_question() {
    let manufacturer = Manufacturer::new("Turtle");
    let both = |config: &mut PoolConfig| {
        config.new_nodes = Approval::ByPerson;
        config.new_ak = Approval::ByPerson;
    };
    let server = disk(&manufacturer, both).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let (id, _) = pending(machine.attest(&server).await);
    approve(&server, &id, "ticket").await.unwrap();
    machine.attest(&server).await.unwrap();
    assert_eq!(pending(machine.reinstalled().attest(&server).await), (id, NeedsApproval::NewAk));
}

#[tokio::test]
async fn a_decision_needs_a_reason_and_a_tpm() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer, |config| config.new_nodes = Approval::ByPerson).start().await.unwrap();
    let nobody = approve(&server, &id("/spire/agent/tpm/ab"), "why").await.unwrap_err();
    assert!(matches!(nobody, DecideError::Pending(PendingError::NotFound { .. })), "{nobody}");
    let machine = Machine::new(&manufacturer);
    let (id, _) = pending(machine.attest(&server).await);
    for reason in [String::new(), "x".repeat(1025)] {
        let refused = approve(&server, &id, &reason).await.unwrap_err();
        assert!(matches!(refused, DecideError::Reason { .. }), "{refused}");
    }
    pending(machine.attest(&server).await);
}
