//! Entries: validated, unique, paged, and found for agents.

use plastron_server_core::authorization::rpc;
use plastron_server_core::page::PageRequest;
use plastron_server_core::registration::{EntryError, EntryFault, EntryFilter, EntryPatch, MatchBehavior};
use plastron_spiffe::{EntryError as EntryRule, Selector, TrustDomain};

use crate::fixture::{Disk, START, entry, id, local};

#[tokio::test]
async fn entries_are_unique_by_id_parent_and_selectors() {
    let server = Disk::new().start().await.unwrap();
    let parent = id("/parent");
    let first = entry("/web", &parent, &["unix:uid:1", "unix:gid:1"]);
    let created = server.create(vec![first.clone()]).await.remove(0);
    assert_eq!((created.revision_number, created.created_at), (0, i64::try_from(START).unwrap()));
    let mut again = first.clone();
    again.selectors.reverse();
    let mut renamed = entry("/other", &parent, &["unix:uid:1"]);
    renamed.id.clone_from(&created.id);
    let fewer = entry("/web", &parent, &["unix:uid:1"]);
    let permit = server.permit::<rpc::BatchCreateEntry>(&local()).await;
    let before = server.store.statistics().commits;
    let results =
        server.services.registration.create(permit, vec![again, renamed, fewer.clone(), fewer]).await.unwrap();
    assert_eq!(server.store.statistics().commits - before, 1, "one batch, one commit");
    assert_eq!(results.first().unwrap(), &Err(EntryError::Exists(created.clone())));
    assert_eq!(results.get(1).unwrap(), &Err(EntryError::IdTaken { id: created.id.clone() }));
    let third = results.get(2).unwrap().clone().unwrap();
    assert_eq!(results.get(3).unwrap(), &Err(EntryError::Exists(third)), "also within one batch");
}

#[tokio::test]
async fn an_invalid_entry_does_not_hinder_the_others() {
    let server = Disk::new().start().await.unwrap();
    let parent = id("/parent");
    let mut federated = entry("/federated", &parent, &["unix:uid:1"]);
    federated.federates_with = vec![TrustDomain::parse("other.example").unwrap()];
    let mut nobody = entry("/nobody", &parent, &["unix:uid:1"]);
    nobody.selectors.clear();
    let good = entry("/good", &parent, &["unix:uid:1"]);
    let permit = server.permit::<rpc::BatchCreateEntry>(&local()).await;
    let results = server.services.registration.create(permit, vec![federated, nobody, good]).await.unwrap();
    let [federated, nobody, good] = results.as_slice() else { unreachable!("three results") };
    let other = TrustDomain::parse("other.example").unwrap();
    let missing = EntryFault::NoFederatedBundle { trust_domain: other };
    assert_eq!(federated, &Err(EntryError::Invalid(missing)));
    assert_eq!(nobody, &Err(EntryError::Invalid(EntryFault::Rule(EntryRule::NoSelector))));
    assert!(good.is_ok());
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_counts() {
    let server = Disk::new().start().await.unwrap();
    let mut wanted = entry("/web", &id("/parent"), &["unix:uid:1"]);
    wanted.hint = "kept".to_owned();
    let created = server.create(vec![wanted, entry("/other", &id("/parent"), &["unix:uid:1"])]).await;
    let web = created.first().unwrap();
    let patch = |id: &str| EntryPatch { id: id.to_owned(), x509_svid_ttl: Some(60), ..EntryPatch::default() };
    let twin = EntryPatch { id: web.id.clone(), spiffe_id: Some(id("/other")), ..EntryPatch::default() };
    let bad = EntryPatch { id: web.id.clone(), selectors: Some(Vec::new()), ..EntryPatch::default() };
    let permit = server.permit::<rpc::BatchUpdateEntry>(&local()).await;
    let patches = vec![patch(&web.id), patch("absent"), bad];
    let results = server.services.registration.update(permit, patches).await.unwrap();
    let [updated, absent, bad] = results.as_slice() else { unreachable!("three results") };
    let updated = updated.as_ref().unwrap();
    assert_eq!((updated.x509_svid_ttl, updated.revision_number, updated.hint.as_str()), (60, 1, "kept"));
    assert_eq!(updated.created_at, web.created_at);
    assert_eq!(absent, &Err(EntryError::NotFound { id: "absent".to_owned() }));
    assert!(matches!(bad, Err(EntryError::Invalid(_))));
    let permit = server.permit::<rpc::BatchUpdateEntry>(&local()).await;
    let results = server.services.registration.update(permit, vec![twin]).await.unwrap();
    assert_eq!(results.first().unwrap(), &Err(EntryError::Exists(created.get(1).unwrap().clone())));
    let permit = server.permit::<rpc::GetEntry>(&local()).await;
    assert_eq!(&server.services.registration.get(permit, &web.id).unwrap(), updated);
}

#[tokio::test]
async fn lists_come_in_pages_and_filters_compare_sets() {
    let disk = Disk::new();
    let server = disk.start().await.unwrap();
    let parent = id("/parent");
    let wanted: Vec<_> = (0..25).map(|n| entry(&format!("/w/{n}"), &parent, &["a:1", &format!("b:{n}")])).collect();
    server.create(wanted).await;
    // The second look is at what a restart reads back.
    for server in [&server, &disk.start().await.unwrap()] {
        let (mut seen, mut page) = (Vec::new(), PageRequest { size: 10, token: String::new() });
        loop {
            let permit = server.permit::<rpc::ListEntries>(&local()).await;
            let part = server.services.registration.list(permit, &EntryFilter::default(), &page).unwrap();
            seen.extend(part.items.iter().map(|entry| entry.id.clone()));
            page.token = part.next_token;
            if page.token.is_empty() {
                break;
            }
        }
        assert_eq!(seen.len(), 25);
        assert!(seen.is_sorted());
        let select = |texts: &[&str]| texts.iter().map(|text| Selector::parse(text).unwrap()).collect::<Vec<_>>();
        for (selectors, behavior, count) in [
            (select(&["a:1", "b:3"]), MatchBehavior::Exact, 1),
            (select(&["a:1"]), MatchBehavior::Exact, 0),
            (select(&["a:1"]), MatchBehavior::Superset, 25),
            (select(&["a:1", "b:1", "b:2", "c:9"]), MatchBehavior::Subset, 2),
            (select(&["b:1", "b:2", "c:9"]), MatchBehavior::Any, 2),
            (select(&["c:9"]), MatchBehavior::Any, 0),
        ] {
            let permit = server.permit::<rpc::CountEntries>(&local()).await;
            let filter = EntryFilter { selectors: Some((selectors.clone(), behavior)), ..EntryFilter::default() };
            assert_eq!(server.services.registration.count(permit, &filter), count, "{selectors:?} {behavior:?}");
        }
    }
    let permit = server.permit::<rpc::ListEntries>(&local()).await;
    let page = PageRequest { size: 1, token: "zz".to_owned() };
    assert!(server.services.registration.list(permit, &EntryFilter::default(), &page).is_err());
}

#[tokio::test]
async fn deleted_entries_are_gone_for_agents_at_once() {
    let server = Disk::new().start().await.unwrap();
    let (agent, caller) = server.agent().await;
    let created = server.create(vec![entry("/web", &agent, &["unix:uid:1"])]).await.remove(0);
    let mut revisions = server.services.ledger.revisions();
    revisions.mark_unchanged();
    let permit = server.permit::<rpc::BatchDeleteEntry>(&local()).await;
    let ids = vec![created.id.clone(), "absent".to_owned()];
    let results = server.services.registration.delete(permit, ids).await.unwrap();
    assert_eq!(results, [Ok(()), Err(EntryError::NotFound { id: "absent".to_owned() })]);
    assert!(revisions.has_changed().unwrap(), "whoever pushes is told");
    let permit = server.permit::<rpc::GetAuthorizedEntries>(&caller).await;
    assert!(server.services.registration.authorized_entries(&permit).is_empty());
}
