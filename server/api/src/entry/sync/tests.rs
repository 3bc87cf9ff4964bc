//! What an agent hears of its entries.

use plastron_proto::types::{Selector, Spiffeid};

use super::*;

fn entries(count: usize, hint: &str) -> Vec<Arc<RegistrationEntry>> {
    let id = |path: &str| Some(Spiffeid { trust_domain: "example.org".into(), path: path.into() });
    let wire = Entry {
        spiffe_id: id("/w"),
        parent_id: id("/p"),
        selectors: vec![Selector { r#type: "unix".into(), value: "uid:1".into() }],
        ..Entry::default()
    };
    let template = entry::from_proto(wire, &plastron_spiffe::TrustDomain::parse("example.org").unwrap()).unwrap();
    // Longer than an entry's may be, so that few are much.
    let template = RegistrationEntry { hint: hint.to_owned(), ..template };
    (0..count)
        .map(|n| RegistrationEntry { id: format!("e-{n:06}"), revision_number: 3, created_at: 7, ..template.clone() })
        .map(Arc::new)
        .collect()
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("e-{n:06}")).collect()
}

#[test]
fn a_page_of_entries_comes_at_once() {
    let all = all_at_once(&entries(SYNC_PAGE, ""), None).unwrap();
    assert_eq!((all.entries.len(), all.more), (SYNC_PAGE, false));
    assert!(all_at_once(&entries(SYNC_PAGE + 1, ""), None).is_none());
    assert_eq!(all_at_once(&[], None).unwrap(), SyncAuthorizedEntriesResponse::default());
}

/// Threat 30
#[test]
fn few_entries_that_are_large_come_in_pages_below_the_limit() {
    let large = entries(400, &"h".repeat(10_000));
    assert!(all_at_once(&large, None).is_none());
    let pages: Vec<_> = Pages::new(&large, ids(0..400), None).collect();
    assert!(pages.len() > 1 && pages.iter().all(|page| page.encoded_len() <= MAX_PAGE_LEN + 1024));
    assert_eq!(pages.iter().map(|page| page.entries.len()).sum::<usize>(), 400);
    let more: Vec<_> = pages.iter().map(|page| page.more).collect();
    assert_eq!(more.iter().filter(|more| !**more).count(), 1);
    assert_eq!(more.last(), Some(&false));
}

#[test]
fn revisions_come_in_pages_and_the_last_says_so() {
    let pages: Vec<_> = revisions(&entries(1_100, "")).collect();
    let shape: Vec<_> = pages.iter().map(|page| (page.entry_revisions.len(), page.more)).collect();
    assert_eq!(shape, [(500, true), (500, true), (100, false)]);
    let expected = EntryRevision { id: "e-000000".into(), revision_number: 3, created_at: 7 };
    assert_eq!(pages[0].entry_revisions[0], expected);
}

#[test]
fn asked_entries_come_in_pages_and_others_are_left_out() {
    let all = entries(1_100, "");
    let mut asked = ids(0..501);
    asked.push("not-there".into());
    let shape: Vec<_> = Pages::new(&all, asked, None).map(|page| (page.entries.len(), page.more)).collect();
    assert_eq!(shape, [(500, true), (1, false)]);
    let shape: Vec<_> = Pages::new(&all, vec!["x".into()], None).map(|page| (page.entries.len(), page.more)).collect();
    assert_eq!(shape, [(0, false)]);
    let shape: Vec<_> = Pages::new(&all, ids(0..500), None).map(|page| (page.entries.len(), page.more)).collect();
    assert_eq!(shape, [(500, false)]);
}

#[test]
fn the_first_request_names_no_entries_and_keeps_the_revision() {
    let with_ids = SyncAuthorizedEntriesRequest { output_mask: None, ids: vec!["a".into()] };
    assert!(check_first(with_ids).is_err());
    let masked = SyncAuthorizedEntriesRequest { output_mask: Some(EntryMask::default()), ids: vec![] };
    assert!(check_first(masked).is_err());
    let mask = EntryMask { revision_number: true, ..EntryMask::default() };
    let good = SyncAuthorizedEntriesRequest { output_mask: Some(mask), ids: vec![] };
    assert_eq!(check_first(good).unwrap(), Some(mask));
}
