//! The client's half of the exchange against replies in a list.

use plastron_proto::spire::api::server::entry::v1::EntryRevision as Revision;
use plastron_proto::types::{Selector, Spiffeid};

use super::*;

type Reply = SyncAuthorizedEntriesResponse;

fn entry(id: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        spiffe_id: Some(Spiffeid { trust_domain: "example.org".to_owned(), path: format!("/{id}") }),
        selectors: vec![Selector { r#type: "unix".to_owned(), value: "uid:1".to_owned() }],
        revision_number: 1,
        created_at: 7,
        ..Entry::default()
    }
}

fn entries(ids: &[&str], more: bool) -> Reply {
    Reply { entries: ids.iter().map(|id| entry(id)).collect(), more, ..Reply::default() }
}

fn revisions(ids: &[&str], more: bool) -> Reply {
    let revision = |id: &&str| Revision { id: (*id).to_owned(), revision_number: 1, created_at: 7 };
    Reply { entry_revisions: ids.iter().map(revision).collect(), more, ..Reply::default() }
}

fn known(entries: &[(&str, i64, i64)]) -> KnownEntries {
    entries
        .iter()
        .map(|(id, revision, created_at)| {
            (Arc::from(*id), EntryRevision { revision: *revision, created_at: *created_at })
        })
        .collect()
}

/// What came of it: authorised ids, ids of full entries, and the id lists that were asked for.
struct Outcome {
    authorized: Vec<String>,
    entries: Vec<String>,
    asked: Vec<Vec<String>>,
}

async fn run(replies: Vec<Reply>, known: &KnownEntries) -> Result<Outcome, UpstreamError> {
    let own = TrustDomain::parse("example.org").unwrap();
    let (requests, mut sent) = mpsc::channel(100);
    let replies = tokio_stream::iter(replies.into_iter().map(Ok));
    let exchange = Exchange { server: "server", requests, replies, own: &own, sync: EntrySync::default() };
    let sync = exchange.run(known).await?;
    let mut asked = Vec::new();
    while let Some(request) = sent.recv().await {
        asked.push(request.ids);
    }
    Ok(Outcome {
        authorized: sync.authorized.iter().map(ToString::to_string).collect(),
        entries: sync.entries.iter().map(|entry| entry.id.to_string()).collect(),
        asked,
    })
}

#[tokio::test]
async fn few_entries_come_at_once() {
    let outcome = run(vec![entries(&["a", "b"], false)], &known(&[("z", 1, 1)])).await.unwrap();
    assert_eq!(outcome.authorized, ["a", "b"]);
    assert_eq!(outcome.entries, ["a", "b"]);
    assert!(outcome.asked.is_empty());
    let outcome = run(vec![entries(&[], false)], &known(&[])).await.unwrap();
    assert!(outcome.authorized.is_empty());
}

#[tokio::test]
async fn of_many_entries_only_the_changed_ones_are_asked_for_in_pages_of_the_servers_size() {
    let held = known(&[("a", 1, 7), ("b", 0, 7), ("c", 1, 6), ("gone", 1, 7)]);
    let replies = vec![
        revisions(&["d", "a"], true),
        revisions(&["c", "b"], true),
        revisions(&["e"], false),
        entries(&["b"], true),
        entries(&["c"], false),
        entries(&["d", "e"], false),
    ];
    let outcome = run(replies, &held).await.unwrap();
    assert_eq!(outcome.asked, [vec!["b", "c"], vec!["d", "e"]]);
    assert_eq!(outcome.authorized, ["a", "b", "c", "d", "e"]);
    assert_eq!(outcome.entries, ["b", "c", "d", "e"]);
}

#[tokio::test]
async fn an_entry_that_is_withheld_is_not_served_any_more() {
    let held = known(&[("a", 1, 7), ("b", 0, 7)]);
    let outcome = run(vec![revisions(&["a", "b"], false), entries(&[], false)], &held).await.unwrap();
    assert_eq!(outcome.authorized, ["a"]);
}

#[tokio::test]
async fn one_malformed_entry_does_not_stop_the_others() {
    let mut reply = entries(&["good", "no-id", "no-selector", "foreign", "bad-selector", "root"], false);
    for (entry, spoil) in reply.entries.iter_mut().skip(1).zip([
        (|entry: &mut Entry| entry.id.clear()) as fn(&mut Entry),
        |entry| entry.selectors.clear(),
        |entry| entry.spiffe_id = Some(Spiffeid { trust_domain: "other.org".to_owned(), path: "/x".to_owned() }),
        |entry| entry.selectors.push(Selector { r#type: "a:b".to_owned(), value: "c".to_owned() }),
        |entry| entry.spiffe_id = Some(Spiffeid { trust_domain: "example.org".to_owned(), path: String::new() }),
    ]) {
        spoil(entry);
    }
    let outcome = run(vec![reply], &known(&[])).await.unwrap();
    assert_eq!(outcome.authorized, ["good"]);
    assert_eq!(outcome.entries, ["good"]);
}

#[tokio::test]
async fn what_breaks_the_contract_is_refused() {
    let mixed = Reply { entries: entries(&["a"], false).entries, ..revisions(&["a"], false) };
    for replies in [
        vec![],
        vec![entries(&["a"], true)],
        vec![entries(&["a"], true), revisions(&["b"], false)],
        vec![mixed],
        vec![revisions(&["a"], true), entries(&["a"], false)],
        vec![revisions(&["a"], false)],
        vec![revisions(&["a"], false), revisions(&["a"], false)],
        vec![revisions(&["a"], false), entries(&["b"], false)],
    ] {
        let outcome = run(replies, &known(&[])).await;
        assert!(matches!(outcome, Err(UpstreamError::MalformedReply { .. })));
    }
}

#[tokio::test]
async fn entries_are_bounded() {
    let ids: Vec<String> = (0..=MAX_ENTRIES).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let outcome = run(vec![revisions(&ids, false)], &known(&[])).await;
    assert!(matches!(outcome, Err(UpstreamError::MalformedReply { .. })));
}
