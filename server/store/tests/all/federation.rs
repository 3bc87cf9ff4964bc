//! Foreign trust domains: what is one transaction, what is refused, and what entries have to do with it.

use plastron_server_core::store::{
    Change, DeleteMode, EntryConflict, EntryStore as _, Event, FederatedBundleError, FederatedBundlePatch,
    FederationStore as _, Order, RelationshipError, RelationshipPatch, Store as _,
};
use plastron_server_store::SqliteStore;
use plastron_spiffe::{
    Bundle, BundleEndpointUrl, EndpointProfile, FederationRelationship, JwtAuthority, RegistrationEntry, SpiffeId,
    TrustDomain, X509Authority,
};

use crate::fixture::{Place, entry};

fn td(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

fn bundle(name: &str, sequence_number: u64) -> Bundle {
    Bundle {
        trust_domain: td(name),
        x509_authorities: vec![X509Authority { certificate: b"root".to_vec(), tainted: false }],
        jwt_authorities: vec![JwtAuthority {
            key_id: "kid".to_owned(),
            public_key: b"key".to_vec(),
            expires_at: 9,
            tainted: false,
        }],
        refresh_hint: 60,
        sequence_number,
    }
}

fn relationship(name: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: td(name),
        bundle_endpoint_url: BundleEndpointUrl::parse("https://bundle.example:8443/b?c=d").unwrap(),
        profile: EndpointProfile::HttpsSpiffe { id: SpiffeId::parse("spiffe://other.example/endpoint").unwrap() },
    }
}

fn federated(name: &str, with: &[&str]) -> RegistrationEntry {
    RegistrationEntry { federates_with: with.iter().map(|name| td(name)).collect(), ..entry(name) }
}

/// The log from its start and the whole state say the same to a second server.
async fn followed(place: &Place, store: &SqliteStore) -> Vec<Event> {
    let other = place.open().await;
    let changes = other.changes_after(0).await.unwrap();
    assert_eq!(store.load().await.unwrap().revision, changes.last().map_or(0, |change| change.sequence));
    changes.into_iter().map(|Change { event, .. }| event).collect()
}

#[tokio::test]
async fn a_bundle_is_created_once_changed_in_part_and_set_as_a_whole() {
    let place = Place::new();
    let store = place.open().await;
    let created = store.create_federated_bundle(bundle("other.example", 3)).await.unwrap();
    assert_eq!((created.value.as_ref(), created.changes.len()), (&bundle("other.example", 3), 1));
    let again = store.create_federated_bundle(bundle("other.example", 4)).await;
    assert_eq!(again.err(), Some(FederatedBundleError::Exists));
    let patch = |name: &str| FederatedBundlePatch {
        trust_domain: td(name),
        x509_authorities: Some(Vec::new()),
        jwt_authorities: None,
        refresh_hint: None,
        sequence_number: Some(7),
    };
    let updated = store.update_federated_bundle(patch("other.example")).await.unwrap().value;
    let expected = Bundle { x509_authorities: Vec::new(), ..bundle("other.example", 7) };
    assert_eq!(updated.as_ref(), &expected);
    let absent = store.update_federated_bundle(patch("absent.example")).await;
    assert_eq!(absent.err(), Some(FederatedBundleError::NotFound));
    let same = store.set_federated_bundle(expected.clone(), Order::AsSet).await.unwrap();
    assert!(same.changes.is_empty(), "nothing changed");
    store.set_federated_bundle(bundle("third.example", 0), Order::AsSet).await.unwrap();
    let snapshot = place.open().await.load().await.unwrap();
    assert_eq!(snapshot.federated_bundles, [expected.clone(), bundle("third.example", 0)]);
    assert_eq!(snapshot.bundle, None, "none of them is the server's own");
    let events = followed(&place, &store).await;
    assert_eq!(events.first(), Some(&Event::FederatedBundle(expected.into())), "present values");
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn a_fetched_bundle_never_goes_back_and_a_person_may_set_any() {
    let place = Place::new();
    let store = place.open().await;
    let fetched = |sequence| store.set_federated_bundle(bundle("other.example", sequence), Order::BySequence);
    fetched(5).await.unwrap();
    assert_eq!(fetched(4).await.err(), Some(FederatedBundleError::Rollback { got: 4, kept: 5 }));
    assert_eq!(place.open().await.load().await.unwrap().federated_bundles, [bundle("other.example", 5)]);
    fetched(6).await.unwrap();
    assert_eq!(fetched(0).await.err(), Some(FederatedBundleError::Rollback { got: 0, kept: 6 }), "the number left out");
    let same_number = Bundle { jwt_authorities: Vec::new(), ..bundle("other.example", 6) };
    let kept = store.set_federated_bundle(same_number.clone(), Order::BySequence).await.unwrap().value;
    assert_eq!(kept.as_ref(), &same_number);
    store.set_federated_bundle(bundle("other.example", 1), Order::AsSet).await.unwrap();
    assert_eq!(place.open().await.load().await.unwrap().federated_bundles, [bundle("other.example", 1)]);
}

#[tokio::test]
async fn an_entry_federates_only_with_whom_there_is_a_bundle_of() {
    let place = Place::new();
    let store = place.open().await;
    store.create_federated_bundle(bundle("a.example", 1)).await.unwrap();
    let entries =
        vec![federated("one", &["a.example"]), federated("two", &["a.example", "b.example"]), federated("none", &[])];
    let results = store.create_entries(entries).await.unwrap().value;
    let refused = EntryConflict::NoBundle { trust_domain: td("b.example") };
    assert_eq!(results.get(1), Some(&Err(refused.clone())));
    assert!(results.iter().step_by(2).all(Result::is_ok));
    let updated = store.update_entries(vec![federated("none", &["b.example"])]).await.unwrap().value;
    assert_eq!(updated, [Err(refused)]);
    let kept = place.open().await.load().await.unwrap().entries;
    assert!(kept.contains(&federated("one", &["a.example"])) && kept.contains(&federated("none", &[])));
}

#[tokio::test]
async fn what_becomes_of_entries_when_a_bundle_goes_depends_on_the_mode() {
    for (mode, kept) in
        [(DeleteMode::Delete, vec!["likewise"]), (DeleteMode::Dissociate, vec!["both", "likewise", "one"])]
    {
        let place = Place::new();
        let store = place.open().await;
        // In LIKE, an underscore stands for any character.
        for name in ["a_b.example", "axb.example"] {
            store.create_federated_bundle(bundle(name, 1)).await.unwrap();
        }
        let entries = vec![
            federated("one", &["a_b.example"]),
            federated("both", &["a_b.example", "axb.example"]),
            federated("likewise", &["axb.example"]),
        ];
        store.create_entries(entries).await.unwrap();
        let restricted = store.delete_federated_bundle(td("a_b.example"), DeleteMode::Restrict).await;
        assert_eq!(restricted.err(), Some(FederatedBundleError::InUse { entries: 2 }));
        store.delete_federated_bundle(td("a_b.example"), mode).await.unwrap();
        let again = store.delete_federated_bundle(td("a_b.example"), mode).await;
        assert_eq!(again.err(), Some(FederatedBundleError::NotFound));
        let snapshot = place.open().await.load().await.unwrap();
        assert_eq!(snapshot.federated_bundles, [bundle("axb.example", 1)]);
        let mut names: Vec<&str> = snapshot.entries.iter().map(|entry| entry.id.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, kept);
        let both = snapshot.entries.iter().find(|entry| entry.id == "both");
        if let Some(both) = both {
            assert_eq!((both.federates_with.as_slice(), both.revision_number), ([td("axb.example")].as_slice(), 1));
        }
        let events = followed(&place, &store).await;
        assert_eq!(events.last(), Some(&Event::FederatedBundleDeleted { trust_domain: td("a_b.example") }));
        // Nobody is in the way any more.
        store.create_federated_bundle(bundle("a_b.example", 1)).await.unwrap();
        store.delete_federated_bundle(td("a_b.example"), DeleteMode::Restrict).await.unwrap();
    }
}

#[tokio::test]
async fn a_relationship_is_kept_with_its_bundle_and_goes_without_it() {
    let place = Place::new();
    let store = place.open().await;
    let created = store.create_relationship(relationship("a.example"), Some(bundle("a.example", 1))).await.unwrap();
    assert_eq!(created.changes.len(), 2);
    assert_eq!(created.value.1.as_deref(), Some(&bundle("a.example", 1)));
    let again = store.create_relationship(relationship("a.example"), Some(bundle("a.example", 2))).await;
    assert_eq!(again.err(), Some(RelationshipError::Exists));
    let alone = store.create_relationship(relationship("b.example"), None).await.unwrap().value;
    assert_eq!(alone.1, None);
    let patch = |name: &str| RelationshipPatch {
        trust_domain: td(name),
        bundle_endpoint_url: None,
        profile: Some(EndpointProfile::HttpsWeb),
        bundle: None,
    };
    let (updated, present) = store.update_relationship(patch("a.example")).await.unwrap().value;
    let expected = FederationRelationship { profile: EndpointProfile::HttpsWeb, ..relationship("a.example") };
    assert_eq!((updated.as_ref(), present.as_deref()), (&expected, Some(&bundle("a.example", 1))));
    let absent = store.update_relationship(patch("absent.example")).await;
    assert_eq!(absent.err(), Some(RelationshipError::NotFound));
    let snapshot = place.open().await.load().await.unwrap();
    assert_eq!(snapshot.relationships, [expected, relationship("b.example")]);
    assert_eq!(snapshot.federated_bundles, [bundle("a.example", 1)], "a refused relationship sets no bundle");
    store.delete_relationship(td("a.example")).await.unwrap();
    assert_eq!(store.delete_relationship(td("a.example")).await.err(), Some(RelationshipError::NotFound));
    let snapshot = place.open().await.load().await.unwrap();
    assert_eq!((snapshot.relationships.len(), snapshot.federated_bundles.len()), (1, 1), "the bundle stays");
    let events = followed(&place, &store).await;
    assert_eq!(events.last(), Some(&Event::RelationshipDeleted { trust_domain: td("a.example") }));
}
