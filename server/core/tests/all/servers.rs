//! Several servers on one store: slots of their own, one bundle, and none signs before the others serve what it signs with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_hsm_soft::SoftStore;
use plastron_server_core::authorization::rpc;
use plastron_server_core::limits::{AGENTS_TAKE, SERVERS_TAKE};
use plastron_server_core::store::{SlotName, SlotStatus};
use plastron_spiffe::jwt::validate;
use plastron_spiffe::x509::{Purpose, X509Svid, verify_chain};
use rustls_pki_types::UnixTime;
use tokio_util::sync::CancellationToken;

use crate::faults::SlowKeys;
use crate::fixture::{CA_TTL, Disk, Server, TestClock, csr, local};

/// The same store and clock, with a key store of its own.
fn beside(disk: &Disk) -> (Disk, Arc<SlowKeys>) {
    let keys = SlowKeys::over(Arc::new(SoftStore::in_memory("beside")));
    let other = Disk {
        directory: Arc::clone(&disk.directory),
        clock: Arc::clone(&disk.clock),
        keys: Arc::clone(&keys) as _,
        ..Disk::new()
    };
    (other, keys)
}

/// What one server issues, verified by the bundle that the other serves at that moment.
async fn trusted_by(issuer: &Server, other: &Server) {
    let svid = issuer.attest(&issuer.token(None).await, &csr(&[])).await.unwrap().svid;
    let token = issuer.jwt("db", 300).await.unwrap().token;
    let bundle = other.services.bundles.current();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(other.clock_now()));
    verify_chain(X509Svid::parse(svid.chain.clone()).unwrap(), bundle.as_ref(), Purpose::Any, now).unwrap();
    validate(&token, "db", bundle.as_ref(), now).unwrap();
}

/// Threat 50: at start and over rotations of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_never_sign_what_the_other_does_not_serve() {
    let disk = Disk::new();
    let first = disk.start().await.unwrap();
    let stop = CancellationToken::new();
    let one = tokio::spawn(Arc::clone(&first.services).maintain(stop.clone()));
    let began = Instant::now();
    let (other, _keys) = beside(&disk);
    let second = other.start().await.unwrap();
    assert!(began.elapsed() < SERVERS_TAKE, "a server that is there answers");
    trusted_by(&second, &first).await;
    trusted_by(&first, &second).await;
    let two = tokio::spawn(Arc::clone(&second.services).maintain(stop.clone()));
    assert_ne!(first.services.ca.server_id(), second.services.ca.server_id());
    for _ in 0..3 {
        disk.clock.advance(CA_TTL - CA_TTL / 6 + 1);
        for (moved, still) in [(&first, &second), (&second, &first)] {
            moved.services.rotate().await;
            trusted_by(moved, still).await;
        }
    }
    for server in [&first, &second] {
        server.services.ledger.catch_up().await.unwrap();
        let active = |slot| server.slot(slot).is_some_and(|entry| entry.status == SlotStatus::Active);
        assert_eq!(SlotName::ALL.into_iter().filter(|slot| active(*slot)).count(), 2, "one of each kind");
    }
    assert_eq!(first.services.bundles.current(), second.services.bundles.current());
    assert_eq!(first.services.ledger.state().journals().len(), 8);
    stop.cancel();
    let _ended = (one.await, two.await);
    assert!(first.store.servers().await.unwrap().is_empty(), "both said that they stop");
}

/// Threat 50: while another server serves an older bundle, a new authority signs its own certificate and a probe, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_behind_is_waited_for() {
    let disk = Disk::new();
    let first = disk.start().await.unwrap();
    let (other, keys) = beside(&disk);
    let start = tokio::spawn(async move { (other.start().await.unwrap(), other) });
    // Published, and then half a second in which it could sign.
    while first.store.load().await.unwrap().journal.iter().all(|entry| entry.server == first.services.ca.server_id()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!start.is_finished(), "it waits");
    assert!(keys.signers().len() <= 2, "the certificate's and the probe: {:?}", keys.signers());
    let began = Instant::now();
    while !start.is_finished() {
        first.services.ledger.catch_up().await.unwrap();
        first.services.ca.announce().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < SERVERS_TAKE);
    let (second, _other) = start.await.unwrap();
    trusted_by(&second, &first).await;
}

/// A server that died does not keep the others from signing, and is named.
#[tokio::test]
async fn a_server_that_is_dead_is_given_up_after_a_while() {
    let disk = Disk::new();
    let dead = disk.start().await.unwrap().services.ca.server_id();
    let (other, _keys) = beside(&disk);
    let began = Instant::now();
    let second = other.start().await.unwrap();
    assert!(began.elapsed() >= SERVERS_TAKE);
    assert_ne!(second.services.ca.server_id(), dead);
    let began = Instant::now();
    disk.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    second.services.rotate().await;
    assert!(began.elapsed() < SERVERS_TAKE, "who was given up is not waited for again");
    assert_eq!(second.slot(SlotName::X509CaB).unwrap().status, SlotStatus::Active);
    disk.clock.advance(15 * 24 * 3600);
    second.services.rotate().await;
    second.services.ca.announce().await.unwrap();
    second.services.prune().await;
    second.services.ca.announce().await.unwrap();
    second.services.prune().await;
    let servers: Vec<_> = second.services.ledger.state().journals().iter().map(|entry| entry.server).collect();
    assert!(servers.iter().all(|server| *server == second.services.ca.server_id()), "its journal is forgotten");
}

/// An agent that is connected has the next authority before it signs; one that hangs does not hold it up for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_agent_is_waited_for() {
    let server = Arc::new(Disk::new().start().await.unwrap());
    let (_agent, caller) = server.agent().await;
    let permit = server.permit::<rpc::WatchSubscribe>(&caller).await;
    let stream = server.services.watchers.subscribe(&permit, 0);
    let local_authorities = &server.services.local_authorities;
    let prepared = local_authorities.prepare_jwt(server.permit(&local()).await).await.unwrap();
    let activate = {
        let (server, id) = (Arc::clone(&server), prepared.authority_id.clone());
        tokio::spawn(async move {
            let permit = server.permit(&local()).await;
            server.services.local_authorities.activate_jwt(permit, &id).await
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!activate.is_finished(), "it waits");
    assert_ne!(*server.jwt("db", 300).await.unwrap().key_id, *prepared.authority_id);
    let began = Instant::now();
    stream.acknowledge(server.services.bundles.current().sequence_number);
    activate.await.unwrap().unwrap();
    assert!(began.elapsed() < AGENTS_TAKE);
    assert_eq!(*server.jwt("db", 300).await.unwrap().key_id, *prepared.authority_id);

    let silent = local_authorities.prepare_x509(server.permit(&local()).await).await.unwrap().authority_id;
    let began = Instant::now();
    local_authorities.activate_x509(server.permit(&local()).await, &silent).await.unwrap();
    assert!(began.elapsed() >= AGENTS_TAKE);
    assert_eq!(server.services.ca.authority().authority_id(), silent);
}

/// Threat 56: one server's clock is weeks ahead. It takes nothing from another that is there: neither its slots nor its authorities.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_weeks_ahead_forgets_no_server_that_is_there() {
    let disk = Disk::new();
    let first = disk.start().await.unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&first.services).maintain(stop.clone()));
    let (mut other, _keys) = beside(&disk);
    other.clock = TestClock::new();
    let second = other.start().await.unwrap();
    second.services.prune().await;
    other.clock.advance(30 * 24 * 3600);
    for _ in 0..2 {
        disk.clock.advance(10);
        first.services.ca.announce().await.unwrap();
        second.services.rotate().await;
        second.services.prune().await;
    }
    first.services.ledger.catch_up().await.unwrap();
    assert_eq!(first.slot(SlotName::X509CaA).unwrap().status, SlotStatus::Active);
    first.services.ca.probe().await.unwrap();
    let svid = first.attest(&first.token(None).await, &csr(&[])).await.unwrap().svid;
    first.verified(&svid);
    stop.cancel();
    let _ended = following.await;
}
