//! What workloads are given, and when they hear of a change.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use plastron_agent_core::{Readiness, SvidKeyType, WorkloadUpdate};
use plastron_spiffe::{SpiffeId, TrustDomain};

use crate::authority::Authority;
use crate::{Node, identities, no_identity, pass, silence};

fn ids(update: &WorkloadUpdate) -> Vec<&str> {
    update.identities.iter().map(|identity| identity.spiffe_id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_workload_gets_every_entry_whose_selectors_it_has() {
    let node = Node::new();
    node.server.add_entry("b", "/web", &["unix:uid:1000"]);
    node.server.add_entry("a", "/db", &["unix:uid:1000", "unix:gid:1000"]);
    node.server.add_entry("c", "/root", &["unix:uid:0"]);
    node.server.add_entry("d", "/other", &["unix:uid:1000", "unix:gid:7"]);
    node.server.add_entry("e", "/another", &["unix:uid:1000", "unix:user:other"]);
    let agent = node.start();

    let mut workload = agent.subscribe(&["unix:uid:1000", "unix:gid:1000", "unix:user:web"]);
    let update = identities(&mut workload).await;
    assert_eq!(ids(&update), ["spiffe://example.org/db", "spiffe://example.org/web"]);
    assert_eq!(*update.bundle, node.server.state().bundle);
    for identity in &update.identities {
        assert_eq!(identity.svid.claimed_id(), &identity.spiffe_id);
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, identity.private_key.reveal_pkcs8()).unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        assert_eq!(identity.svid.public_key(), public.as_ref());
    }

    no_identity(&mut agent.subscribe(&["unix:uid:2000"])).await;
    no_identity(&mut agent.subscribe(&[])).await;
    silence(&mut workload, 600).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_added_or_removed_is_heard_of() {
    let node = Node::new();
    let agent = node.start();
    assert_eq!(agent.identities.readiness(), Readiness::Starting);
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    no_identity(&mut workload).await;
    assert!(agent.identities.synchronised().await);

    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    assert_eq!(ids(&identities(&mut workload).await), ["spiffe://example.org/one"]);
    node.server.add_entry("two", "/two", &["unix:uid:1"]);
    assert_eq!(identities(&mut workload).await.identities.len(), 2);
    node.server.state().entries.remove("one");
    assert_eq!(ids(&identities(&mut workload).await), ["spiffe://example.org/two"]);
    node.server.state().entries.clear();
    no_identity(&mut workload).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_entry_is_withdrawn_even_where_nothing_can_be_signed() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    identities(&mut workload).await;
    {
        let mut state = node.server.state();
        state.entries.clear();
        state.refuse_svids = true;
    }
    node.server.add_entry("two", "/two", &["unix:uid:2"]);
    no_identity(&mut workload).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_entry_gets_a_new_svid_and_another_subject_loses_the_old_one_at_once() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let before = identities(&mut workload).await;
    {
        let mut state = node.server.state();
        let entry = state.entries.get_mut("one").unwrap();
        entry.revision = 1;
        entry.hint = "internal".to_owned();
    }
    // The hint is ours to change at once; the SVID follows when it is signed.
    let mut after = identities(&mut workload).await;
    if Arc::ptr_eq(&after.identities[0].svid, &before.identities[0].svid) {
        assert_eq!(after.identities[0].hint, "internal");
        after = identities(&mut workload).await;
    }
    assert_eq!(after.identities[0].hint, "internal");
    assert_ne!(after.identities[0].svid.serial(), before.identities[0].svid.serial());

    {
        let mut state = node.server.state();
        state.refuse_svids = true;
        let entry = state.entries.get_mut("one").unwrap();
        entry.revision = 2;
        entry.spiffe_id = SpiffeId::parse("spiffe://example.org/uno").unwrap();
    }
    silence(&mut workload, 60).await;
    silence(&mut agent.subscribe(&["unix:uid:1"]), 60).await;
    node.server.state().refuse_svids = false;
    assert_eq!(ids(&identities(&mut workload).await), ["spiffe://example.org/uno"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_bundle_is_pushed_and_an_unchanged_one_is_not() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    let mut bundles = agent.identities.subscribe_bundles();
    let before = identities(&mut workload).await;
    assert_eq!(bundles.next().await.unwrap().bundle, before.bundle);
    silence(&mut workload, 60).await;

    let next = Authority::new(&crate::domain(), node.clock.seconds());
    {
        let mut state = node.server.state();
        state.bundle.x509_authorities.extend(next.bundle().x509_authorities);
        state.bundle.sequence_number += 1;
    }
    let after = identities(&mut workload).await;
    assert_eq!(after.bundle.x509_authorities.len(), 2);
    assert!(Arc::ptr_eq(&after.identities[0], &before.identities[0]), "a new bundle is no reason for a new SVID");
    assert_eq!(bundles.next().await.unwrap().bundle.x509_authorities.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn federated_bundles_go_to_the_entries_that_name_them() {
    let node = Node::new();
    let foreign = TrustDomain::parse("other.example").unwrap();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    node.server.add_entry("two", "/two", &["unix:uid:2"]);
    {
        let mut state = node.server.state();
        let entry = state.entries.get_mut("one").unwrap();
        entry.federates_with = vec![foreign.clone(), crate::domain()];
    }
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    assert!(identities(&mut workload).await.federated_bundles.is_empty());

    let authority = Authority::new(&foreign, node.clock.seconds());
    node.server.state().foreign.insert(foreign.clone(), authority.bundle());
    let update = identities(&mut workload).await;
    assert_eq!(update.federated_bundles.keys().collect::<Vec<_>>(), [&foreign]);
    let other = identities(&mut agent.subscribe(&["unix:uid:2"])).await;
    assert!(other.federated_bundles.is_empty());
    // A server that was restored from a backup, or a person, may bring an older one: what the server says counts.
    let mut older = Authority::new(&foreign, node.clock.seconds()).bundle();
    older.sequence_number = 0;
    node.server.state().foreign.insert(foreign.clone(), older.clone());
    assert_eq!(*identities(&mut workload).await.federated_bundles[&foreign], older);
    node.server.state().foreign.clear();
    assert!(identities(&mut workload).await.federated_bundles.is_empty());
}

/// Threat 59
#[tokio::test(start_paused = true)]
async fn no_more_svids_are_held_than_the_cache_allows_save_those_in_use() {
    let mut node = Node::new();
    node.capacity = 10;
    for n in 0..30 {
        node.server.add_entry(&format!("{n:02}"), &format!("/w{n}"), &["unix:gid:1", &format!("unix:uid:{n}")]);
    }
    let agent = node.start();
    let first = identities(&mut agent.subscribe(&["unix:gid:1", "unix:uid:3"])).await;
    assert_eq!(first.identities.len(), 1);
    pass(60).await;
    assert_eq!(node.server.state().issued, 10, "prefetch stops at the capacity");

    let mut late = agent.subscribe(&["unix:gid:1", "unix:uid:29"]);
    assert_eq!(ids(&identities(&mut late).await), ["spiffe://example.org/w29"]);
    pass(60).await;
    assert_eq!(node.server.state().issued, 11, "one more was signed because a workload asked for it");
    silence(&mut late, 60).await;
}

#[tokio::test(start_paused = true)]
async fn svids_without_prefetch_are_signed_when_asked_for() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    node.server.add_entry("stored", "/stored", &["unix:uid:1"]);
    {
        let mut state = node.server.state();
        state.entries.get_mut("one").unwrap().disable_x509_svid_prefetch = true;
        state.entries.get_mut("stored").unwrap().store_svid = true;
    }
    let agent = node.start();
    pass(60).await;
    assert_eq!(node.server.state().issued, 0);
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    assert_eq!(ids(&identities(&mut workload).await), ["spiffe://example.org/one"], "a stored SVID is for no workload");
    assert_eq!(node.server.state().issued, 1);
    node.server.state().entries.remove("one");
    no_identity(&mut workload).await;
}

#[tokio::test(start_paused = true)]
async fn many_svids_are_asked_for_in_batches() {
    let mut node = Node::new();
    node.capacity = 2000;
    for n in 0..1100 {
        node.server.add_entry(&format!("{n:04}"), &format!("/w{n}"), &["unix:uid:1"]);
    }
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    while identities(&mut workload).await.identities.len() < 1100 {}
    assert_eq!(node.server.state().batches, [500, 500, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_svid_is_asked_for_again_but_not_all_the_time() {
    let node = Node::new();
    node.server.add_entry("one", "/one", &["unix:uid:1"]);
    node.server.state().refuse_svids = true;
    let agent = node.start();
    let mut workload = agent.subscribe(&["unix:uid:1"]);
    silence(&mut workload, 3600).await;
    let asked = node.server.state().batches.len();
    assert!((10..30).contains(&asked), "{asked}");
    node.server.state().refuse_svids = false;
    identities(&mut workload).await;
}

#[tokio::test(start_paused = true)]
async fn other_key_types() {
    for (key_type, algorithm) in [
        (SvidKeyType::EcP384, Some(&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING)),
        (SvidKeyType::Rsa2048, None),
    ] {
        let mut node = Node::new();
        node.key_type = key_type;
        node.server.add_entry("one", "/one", &["unix:uid:1"]);
        let agent = node.start();
        let update = identities(&mut agent.subscribe(&["unix:uid:1"])).await;
        let pkcs8 = update.identities[0].private_key.reveal_pkcs8();
        match algorithm {
            Some(algorithm) => drop(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap()),
            None => drop(RsaKeyPair::from_pkcs8(pkcs8).unwrap()),
        }
    }
}
