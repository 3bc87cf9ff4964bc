//! No verdict, a late one or a bad one is never a good one.

use std::collections::BTreeSet;

use plastron_attestation_appraise::CheckOutcome;
use plastron_attestation_fake_tpm::{AttestParts, AttestedParts, Manufacturer};
use plastron_plugins_node_tpm::Pool;
use plastron_server_core::admission::AdmissionError;
use plastron_server_core::authorization::{AgentDenial, rpc};
use plastron_server_core::issuance::SvidRequest;
use plastron_server_core::store::Standing;

use crate::fixture::{Disk, csr, entry, local};
use crate::tpm::{Machine, denial, pool_config};

fn disk(manufacturer: &Manufacturer) -> Disk {
    Disk { pools: vec![Pool::new(pool_config(manufacturer, None)).unwrap()], ..Disk::new() }
}

/// Threat 12: a node about which no verdict came in time gets nothing, whoever stopped: attestor, agent or machine. What was asked
/// before its time was over is not answered after it, and a conversation that nobody ends gives it no time.
#[tokio::test]
async fn a_node_without_a_verdict_in_time_gets_nothing() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let svid = machine.attest(&server).await.unwrap().svid;
    let caller = server.caller(&svid);
    let created = server.create(vec![entry("/web", &svid.id, &["unix:uid:1"])]).await;
    let request = || SvidRequest { entry_id: created.first().unwrap().id.clone(), csr: csr(&[]) };

    let verdict_lasts = svid.not_after - server.clock_now();
    server.clock.advance(verdict_lasts - 60);
    let in_time = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let late = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let issued = server.services.issuance.batch_new_x509_svid(in_time, vec![request()]).await.unwrap();
    assert_eq!(issued.into_iter().next().unwrap().unwrap().not_after, svid.not_after);

    let unanswered = machine.begin(&server, &csr(&[]), &csr(&[])).await.unwrap();
    server.clock.advance(61);
    let expired = AgentDenial::Expired { not_after: svid.not_after, now: server.clock_now() };
    assert_eq!(denial(&server, &caller).await, expired);
    let issued = server.services.issuance.batch_new_x509_svid(late, vec![request()]).await.unwrap();
    assert!(issued.into_iter().next().unwrap().is_err(), "a permit does not outlast the verdict");
    drop(unanswered);
    assert_eq!(denial(&server, &caller).await, expired);

    let healed = machine.attest(&server).await.unwrap().svid;
    server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&healed)).await;
}

type Forge = fn(&mut AttestParts);

/// Threat 11: whatever is wrong with evidence, and wherever the verifier notices, nothing is issued: the node keeps the SVID of its last
/// good verdict, is cut off, or is quarantined. There is no error after which it is as if it had attested.
#[tokio::test]
async fn no_error_ends_in_trust() {
    let manufacturer = Manufacturer::new("Turtle");
    let server = disk(&manufacturer).start().await.unwrap();
    let machine = Machine::new(&manufacturer);
    let forgeries: [Forge; 10] = [
        |attest| attest.magic ^= 1,
        |attest| attest.attest_type ^= 1,
        |attest| attest.qualified_signer.push(0),
        |attest| attest.qualified_signer.clear(),
        |attest| attest.extra_data.clear(),
        |attest| *attest.extra_data.last_mut().unwrap() ^= 1,
        |attest| attest.attested = AttestedParts::Quote { select: Vec::new(), digest: Vec::new() },
        |attest| attest.attested = AttestedParts::Raw(Vec::new()),
        |attest| attest.reset_count -= 1,
        |attest| attest.trailing.push(0),
    ];
    let mut failed = BTreeSet::new();
    for forge in forgeries {
        let good = machine.attest(&server).await.unwrap().svid;
        // From its first use on it is the current one.
        server.permit::<rpc::SyncAuthorizedEntries>(&server.caller(&good)).await;
        machine.tpm.lock().unwrap().before_signing(forge);
        let error = machine.attest(&server).await.unwrap_err();
        machine.tpm.lock().unwrap().before_signing(|_attest| {});
        let AdmissionError::Refused(refusal) = error else { unreachable!("refused by the attestor, not {error:?}") };
        let last = refusal.records.last().unwrap();
        assert_eq!((last.check, last.outcome), (refusal.check, CheckOutcome::Failed));
        failed.insert(refusal.check);
        let node = server.services.ledger.state().node(&good.id).unwrap();
        match &node.standing {
            Standing::Active { current, pending } => {
                assert_eq!((&current.serial, pending), (&good.serial, &None), "{refusal}");
            }
            Standing::CutOff { reason, .. } | Standing::Quarantined { reason, .. } => {
                assert!(reason.starts_with(refusal.check.name()), "{reason}");
            }
            Standing::Banned { .. } => unreachable!("nobody banned it"),
        }
        if matches!(node.standing, Standing::Quarantined { .. }) {
            let permit = server.permit::<rpc::DeleteAgent>(&local()).await;
            server.services.nodes.evict(permit, good.id.clone()).await.unwrap();
        }
    }
    assert!(failed.len() >= 6, "{failed:?}");
}
