//! What goes when its time is over: authorities and their keys, expired entries.

use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use plastron_hsm::KeyInventory as _;
use plastron_hsm_soft::SoftStore;
use plastron_server_core::authorization::rpc;
use plastron_server_core::ca::CaError;
use plastron_server_core::pruning::NodePruning;
use plastron_server_core::store::SlotName;

use crate::faults::{FaultyStore, SlowKeys, Step};
use crate::fixture::{CA_TTL, Disk, START, entry, id, local};

fn destructible() -> (Disk, Arc<SoftStore>) {
    let keys = Arc::new(SoftStore::in_memory("test"));
    (Disk { keys: Arc::clone(&keys) as _, inventory: Some(Arc::clone(&keys) as _), ..Disk::new() }, keys)
}

/// Neither the bundle nor the key store grows with the years, and what signs is always in both.
#[tokio::test]
async fn expired_authorities_leave_the_bundle_and_their_keys_the_store() {
    const HOUR: u64 = 3600;
    let (disk, keys) = destructible();
    let server = disk.start().await.unwrap();
    let first = server.slot(SlotName::X509CaA).unwrap();
    for hour in 1..=(4 * CA_TTL / HOUR) {
        server.clock.advance(HOUR);
        server.services.rotate().await;
        let bundle = server.services.bundles.current();
        let has_first = bundle
            .x509_authorities
            .iter()
            .any(|authority| Some(&authority.certificate) == first.ca().map(|ca| &ca.certificate));
        // Not before a day has gone by since it expired: someone's clock may be late.
        assert_eq!(has_first, hour * HOUR <= 2 * CA_TTL, "in hour {hour}");
        assert!(bundle.x509_authorities.len() <= 5, "in hour {hour}");
        let held = keys.list().await.unwrap();
        assert!(held.len() <= 4, "in hour {hour}");
        assert!(bundle.jwt_authorities.len() <= 5, "in hour {hour}");
        let active = server.services.ca.authority();
        assert!(held.iter().any(|key| key.id == *active.key_id()), "in hour {hour}");
        server.services.ca.probe().await.unwrap();
    }
    let (sequence, authorities) = {
        let bundle = server.services.bundles.current();
        (bundle.sequence_number, bundle.x509_authorities.clone())
    };
    assert!(sequence > u64::try_from(authorities.len()).unwrap(), "what was dropped counts too");
    let restarted = disk.start().await.unwrap().services.bundles.current();
    assert_eq!((restarted.sequence_number, &restarted.x509_authorities), (sequence, &authorities));
}

/// A server that is down for long drops what expired meanwhile when it starts, but not what a slot still has.
#[tokio::test]
async fn a_start_drops_what_expired_meanwhile() {
    let (disk, _keys) = destructible();
    let server = disk.start().await.unwrap();
    server.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    server.services.rotate().await;
    server.clock.advance(CA_TTL / 2 + 1);
    server.services.rotate().await;
    assert_eq!(server.services.bundles.current().x509_authorities.len(), 3);
    server.clock.advance(10 * CA_TTL);
    let server = disk.start().await.unwrap();
    let expected: Vec<_> = [SlotName::X509CaB, SlotName::X509CaA]
        .into_iter()
        .map(|slot| server.slot(slot).unwrap().ca().unwrap().certificate.clone())
        .collect();
    let bundle = server.services.bundles.current();
    for certificate in expected {
        assert!(bundle.x509_authorities.iter().any(|authority| authority.certificate == certificate));
    }
    assert_eq!(bundle.x509_authorities.len(), 2, "those of the slots");
    server.services.ca.probe().await.unwrap();
}

/// Threat 50: a store that stays away does not fill the token with keys, nor have them sign more than one certificate each.
#[tokio::test]
async fn a_rotation_that_fails_again_and_again_makes_one_key() {
    let (mut disk, keys) = destructible();
    drop(disk.start().await.unwrap());
    let slow = SlowKeys::over(Arc::clone(&disk.keys));
    (disk.keys, disk.inventory) = (Arc::clone(&slow) as _, None);
    let server = disk.start_on(FaultyStore::over(disk.store().await, Step::Prepare, 3)).await.unwrap();
    let old = server.services.ca.authority().key_id().clone();
    server.clock.advance(CA_TTL - CA_TTL / 6 + 1);
    for _ in 0..3 {
        assert!(matches!(server.services.ca.rotate_if_due().await, Err(CaError::Store { .. })));
        server.clock.advance(10);
    }
    assert_eq!(keys.list().await.unwrap().len(), 3, "the active one, the next one and the JWT key");
    let jwt = server.services.ca.jwt_authority().unwrap();
    let next = slow.signers().into_iter().find(|signer| *signer != old && signer != jwt.key_id()).unwrap();
    assert_eq!(slow.signatures(&next), 1, "the certificate's");
    assert!(server.services.ca.rotate_if_due().await.unwrap());
    assert_eq!(server.services.ca.authority().key_id(), &next);
    assert_eq!(keys.list().await.unwrap().len(), 3);
}

/// A clock that jumps ahead and is set right again has cost nothing.
#[tokio::test]
async fn an_expired_entry_is_kept_for_an_hour() {
    let server = Disk::new().start().await.unwrap();
    let mut short = entry("/short", &id("/spire/agent/x"), &["unix:uid:1"]);
    short.expires_at = i64::try_from(START + 10).unwrap();
    let created = server.create(vec![short, entry("/long", &id("/spire/agent/x"), &["unix:uid:1"])]).await;
    let there = || created.iter().filter(|entry| server.services.ledger.state().entry(&entry.id).is_some()).count();
    server.clock.advance(3609);
    server.services.prune().await;
    assert_eq!(there(), 2);
    server.clock.advance(1);
    server.services.prune().await;
    assert_eq!(there(), 1, "the one that never expires stays");
}

/// Threat 24: what is forgotten is what an operator would evict, and never a ban.
#[tokio::test]
async fn nodes_that_expired_long_ago_are_forgotten_and_bans_are_not() {
    // No other test prunes nodes, so it is here that their meters find a recorder.
    let recorder = DebuggingRecorder::new();
    let counted = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let server = Disk::new().start().await.unwrap();
    let (gone, _) = server.agent().await;
    let (banned, _) = server.agent().await;
    let permit = server.permit::<rpc::BanAgent>(&local()).await;
    server.services.nodes.ban(permit, banned.clone()).await.unwrap();
    let expires_at = server.services.ledger.state().node(&gone).unwrap().expires_at();
    let there = |id| server.services.ledger.state().node(id).is_some();
    let rule = NodePruning { expired_for: Duration::from_secs(100), batch: 10, not_reattestable: true };
    let only_reattestable = NodePruning { not_reattestable: false, ..rule };

    server.clock.advance(expires_at - server.clock_now() + 100);
    assert_eq!(server.services.prune_nodes(&rule).await.unwrap(), 0, "not long enough ago");
    server.clock.advance(1);
    assert_eq!(server.services.prune_nodes(&only_reattestable).await.unwrap(), 0, "it joined with a token");
    let (alive, _) = server.agent().await;
    assert_eq!(server.services.prune_nodes(&NodePruning { batch: 0, ..rule }).await.unwrap(), 0);
    assert_eq!(server.services.prune_nodes(&rule).await.unwrap(), 1);
    let counted = counted.snapshot().into_hashmap();
    for name in ["datastore.node.prune", "node.manager.prune"] {
        assert!(counted.keys().any(|key| key.key().name() == name), "{name}");
    }
    assert!(!there(&gone) && there(&banned) && there(&alive));
    assert_eq!(server.services.prune_nodes(&rule).await.unwrap(), 0);
}

/// A node that attested between the look and the transaction is not forgotten.
#[tokio::test]
async fn a_node_that_came_back_is_not_pruned() {
    let server = Disk::new().start().await.unwrap();
    let (node, _) = server.agent().await;
    let expires_at = server.services.ledger.state().node(&node).unwrap().expires_at();
    let pruned = server.store.prune_nodes(vec![node.clone()], expires_at).await.unwrap();
    assert!(pruned.value.is_empty() && pruned.changes.is_empty());
    let pruned = server.store.prune_nodes(vec![node.clone()], expires_at + 1).await.unwrap();
    assert_eq!(pruned.value, [node]);
}
