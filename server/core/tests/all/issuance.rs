//! What an agent gets for its workloads, and what it costs the store.

use std::sync::Arc;

use plastron_server_core::authorization::{AgentDenial, rpc};
use plastron_server_core::issuance::{BatchRefusal, SvidRefusal, SvidRequest};
use plastron_spiffe::RegistrationEntry;

use crate::faults::SlowKeys;
use crate::fixture::{Disk, csr, entry, forged_csr, id, local};

fn requests(entries: &[Arc<RegistrationEntry>], csr: &[u8]) -> Vec<SvidRequest> {
    entries.iter().map(|entry| SvidRequest { entry_id: entry.id.clone(), csr: csr.to_vec() }).collect()
}

/// Threat 19: the CSR asks for other IDs and names; the SVID has the entry's.
#[tokio::test]
async fn the_issued_id_is_the_entrys_whatever_the_csr_asks_for() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let mut web = entry("/web", &agent, &["unix:uid:1000"]);
    web.dns_names = vec!["web.example.org".to_owned()];
    let entries = server.create(vec![web]).await;
    let asked: [&[&str]; 5] = [
        &[],
        &["spiffe://example.org/web"],
        &["spiffe://example.org/spire/server"],
        &["spiffe://other.example/admin"],
        &["spiffe://example.org/a", "spiffe://example.org/b", "https://example.org"],
    ];
    for uris in asked {
        let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
        let results = server.services.issuance.batch_new_x509_svid(permit, requests(&entries, &csr(uris))).await;
        let svid = results.unwrap().into_iter().next().unwrap().unwrap();
        let verified = server.verified(&svid);
        assert_eq!(verified.id(), &id("/web"), "asked for {uris:?}");
        let leaf = svid.chain.first().unwrap();
        let has = |text: &str| leaf.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("web.example.org"), "the entry's DNS name");
        assert!(!has("asked"), "nothing of the CSR's names");
    }
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_answer() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let (stranger, _) = server.agent().await;
    let created = server
        .create(vec![entry("/mine", &agent, &["unix:uid:1"]), entry("/theirs", &stranger, &["unix:uid:1"])])
        .await;
    let good = csr(&[]);
    let mut batch = requests(&created, &good);
    batch.push(SvidRequest { entry_id: "no-such-entry".to_owned(), csr: good });
    batch.push(SvidRequest { entry_id: created.first().unwrap().id.clone(), csr: forged_csr() });
    batch.push(SvidRequest { entry_id: created.first().unwrap().id.clone(), csr: vec![0x30] });
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let results = server.services.issuance.batch_new_x509_svid(permit, batch).await.unwrap();
    let [mine, theirs, absent, forged, malformed] = results.as_slice() else { unreachable!("five results") };
    assert_eq!(mine.as_ref().unwrap().id, id("/mine"));
    assert!(matches!(theirs, Err(SvidRefusal::EntryNotFound { .. })), "another agent's entry does not exist for it");
    assert!(matches!(absent, Err(SvidRefusal::EntryNotFound { .. })));
    // Threat 37
    assert!(matches!(forged, Err(SvidRefusal::Csr(_))));
    assert!(matches!(malformed, Err(SvidRefusal::Csr(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_keeps_its_order_and_a_larger_one_is_refused() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let wanted: Vec<_> = (0..120).map(|n| entry(&format!("/w/{n}"), &agent, &["unix:uid:1"])).collect();
    let created = server.create(wanted).await;
    let one = csr(&[]);
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let results = server.services.issuance.batch_new_x509_svid(permit, requests(&created, &one)).await.unwrap();
    let ids: Vec<_> = results.into_iter().map(|result| result.unwrap().id.clone()).collect();
    let expected: Vec<_> = created.iter().map(|entry| entry.spiffe_id.clone()).collect();
    assert_eq!(ids, expected);
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let many = vec![SvidRequest { entry_id: "x".to_owned(), csr: one }; 501];
    let refused = server.services.issuance.batch_new_x509_svid(permit, many).await.unwrap_err();
    assert_eq!(refused, BatchRefusal::TooLarge { got: 501 });
}

/// No database read, and no commit, on issuance, entry sync, GetBundle and the authorisation of agents.
#[tokio::test]
async fn hot_paths_do_not_touch_the_store() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let one = csr(&[]);
    let before = server.store.statistics();
    for _ in 0..50 {
        let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
        let results = server.services.issuance.batch_new_x509_svid(permit, requests(&created, &one)).await.unwrap();
        assert!(results.into_iter().all(|result| result.is_ok()));
        let permit = server.permit::<rpc::SyncAuthorizedEntries>(&caller).await;
        assert_eq!(server.services.registration.authorized_entries(&permit).len(), 1);
        let permit = server.permit::<rpc::GetBundle>(&caller).await;
        assert_eq!(server.services.bundles.get(permit).x509_authorities.len(), 1);
    }
    assert_eq!(server.store.statistics(), before);
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(permit, agent).await.unwrap();
    assert_ne!(server.store.statistics(), before, "the counters do count");
}

/// Threat 27: the ban is committed while the batch's signature is being made.
#[tokio::test]
async fn a_ban_during_a_batch_wins() {
    let mut disk = Disk::new();
    let slow = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&slow) as _;
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let gate = slow.hold();
    let services = Arc::clone(&server.services);
    let batch = requests(&created, &csr(&[]));
    let under_way = tokio::spawn(async move { services.issuance.batch_new_x509_svid(permit, batch).await });
    slow.somebody_waits().await;
    let ban = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(ban, agent.clone()).await.unwrap();
    drop(gate);
    let results = under_way.await.unwrap().unwrap();
    let [Err(SvidRefusal::Agent { id, reason })] = results.as_slice() else { unreachable!("no SVID: {results:?}") };
    assert_eq!((id, *reason), (&agent, AgentDenial::Banned));
}

/// A permit that waited for its turn: nothing is signed for a node that was banned meanwhile.
#[tokio::test]
async fn a_ban_before_a_batch_costs_no_signature() {
    let mut disk = Disk::new();
    let slow = SlowKeys::over(Arc::clone(&disk.keys));
    disk.keys = Arc::clone(&slow) as _;
    let server = disk.start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await;
    let permit = server.permit::<rpc::BatchNewX509Svid>(&caller).await;
    let ban = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(ban, agent).await.unwrap();
    let before = slow.signers().len();
    let results = server.services.issuance.batch_new_x509_svid(permit, requests(&created, &csr(&[]))).await.unwrap();
    assert!(matches!(results.as_slice(), [Err(SvidRefusal::Agent { reason: AgentDenial::Banned, .. })]));
    assert_eq!(slow.signers().len(), before);
}
