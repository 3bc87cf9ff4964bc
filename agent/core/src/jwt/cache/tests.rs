//! The order in which tokens make room, and what a withdrawn authority costs.

use plastron_spiffe::{JwtAuthority, Selector, SpiffeId, TrustDomain};

use super::*;
use crate::snapshot::{HeldEntry, SelectorIndex};

fn entry(id: &str) -> Arc<AuthorizedEntry> {
    Arc::new(AuthorizedEntry {
        id: id.into(),
        spiffe_id: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        selectors: vec![Selector::parse("unix:uid:1").unwrap()],
        federates_with: Vec::new(),
        hint: String::new(),
        revision: 0,
        created_at: 1,
        admin: false,
        downstream: false,
        store_svid: false,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
    })
}

fn key(entry_id: &str, audience: &str) -> Key {
    Key { entry_id: entry_id.into(), audience: Audience::parse([audience.to_owned()]).unwrap() }
}

fn token(key_id: &str) -> Arc<JwtToken> {
    Arc::new(JwtToken { token: String::new(), key_id: key_id.to_owned(), issued_at: 0, expires_at: 300, renew_at: 150 })
}

fn bundle(key_ids: &[(&str, bool)]) -> Arc<Bundle> {
    let authority = |(key_id, tainted): &(&str, bool)| JwtAuthority {
        key_id: (*key_id).to_owned(),
        public_key: Vec::new(),
        expires_at: 0,
        tainted: *tainted,
    };
    let mut bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    bundle.jwt_authorities = key_ids.iter().map(authority).collect();
    Arc::new(bundle)
}

fn snapshot(entries: &[Arc<AuthorizedEntry>], bundle: &Arc<Bundle>) -> Arc<Snapshot> {
    let held = |entry: &Arc<AuthorizedEntry>| {
        let held = HeldEntry { entry: Arc::clone(entry), identity: None, demand: Arc::default() };
        (Arc::clone(&entry.id), Arc::new(held))
    };
    Arc::new(Snapshot {
        entries: entries.iter().map(held).collect(),
        by_first_selector: Arc::new(SelectorIndex::new()),
        bundle: Arc::clone(bundle),
        foreign: crate::foreign::Foreign::default(),
    })
}

fn holds(cache: &mut TokenCache, key: &Key) -> bool {
    !matches!(cache.get(key, &entry(&key.entry_id), 0), Lookup::Missing)
}

/// A caller that is still waiting with the entry as it was gets no token of what the entry became.
#[test]
fn a_token_is_served_for_the_entry_as_it_was_when_it_was_issued() {
    let mut cache = TokenCache::new(2);
    let (a, before) = (key("e", "a"), entry("e"));
    let spiffe_id = SpiffeId::parse("spiffe://example.org/other").unwrap();
    let after = AuthorizedEntry { spiffe_id, revision: 1, ..(*before).clone() };
    cache.put(a.clone(), Arc::new(after.clone()), token("k"));
    assert!(matches!(cache.get(&a, &before, 0), Lookup::Missing));
    assert!(matches!(cache.get(&a, &after, 0), Lookup::Serve(_)), "and it stays for those whose it is");
}

#[test]
fn the_token_that_was_wanted_longest_ago_makes_room() {
    let mut cache = TokenCache::new(2);
    let (a, b, c) = (key("e", "a"), key("e", "b"), key("e", "c"));
    cache.put(a.clone(), entry("e"), token("k"));
    cache.put(b.clone(), entry("e"), token("k"));
    cache.put(a.clone(), entry("e"), token("k"));
    assert!(holds(&mut cache, &b) && holds(&mut cache, &a));
    cache.put(c.clone(), entry("e"), token("k"));
    assert!(!holds(&mut cache, &b));
    assert!(holds(&mut cache, &a) && holds(&mut cache, &c));
    assert_eq!((cache.held.len(), cache.by_use.len()), (2, 2));
}

#[test]
fn a_token_is_served_then_renewed_then_gone() {
    let mut cache = TokenCache::new(2);
    let (a, e) = (key("e", "a"), entry("e"));
    cache.put(a.clone(), entry("e"), token("k"));
    assert!(matches!(cache.get(&a, &e, 149), Lookup::Serve(_)));
    assert!(matches!(cache.get(&a, &e, 150), Lookup::Renew(_)));
    cache.retry_at(&a, 160);
    assert!(matches!(cache.get(&a, &e, 159), Lookup::Serve(_)));
    assert!(matches!(cache.get(&a, &e, 160), Lookup::Renew(_)));
    cache.retry_at(&a, 1000);
    assert!(matches!(cache.get(&a, &e, 299), Lookup::Serve(_)));
    assert!(matches!(cache.get(&a, &e, 300), Lookup::Missing), "no failure makes a token live longer");
    assert!(cache.by_use.is_empty());
}

#[test]
fn withdrawn_tokens_leave_memory() {
    let one = entry("one");
    let (kept, tainted, revoked, orphan) = (key("one", "a"), key("one", "b"), key("one", "c"), key("two", "d"));
    let filled = || {
        let mut cache = TokenCache::new(10);
        cache.follow(&snapshot(
            &[one.clone(), entry("two")],
            &bundle(&[("good", false), ("bad", false), ("old", false)]),
        ));
        cache.put(kept.clone(), one.clone(), token("good"));
        cache.put(tainted.clone(), one.clone(), token("bad"));
        cache.put(revoked.clone(), one.clone(), token("old"));
        cache.put(orphan.clone(), entry("two"), token("good"));
        cache
    };
    let mut cache = filled();
    let now = snapshot(std::slice::from_ref(&one), &bundle(&[("good", false), ("bad", true)]));
    cache.follow(&now);
    assert_eq!((cache.held.len(), cache.by_use.len()), (1, 1));
    assert!(holds(&mut cache, &kept));

    // The same bundle again says nothing new of a token whose authority it does not know yet.
    cache.put(revoked.clone(), one.clone(), token("newer"));
    cache.follow(&now);
    cache.follow(&snapshot(std::slice::from_ref(&one), &now.bundle));
    assert!(holds(&mut cache, &revoked));
    cache.follow(&snapshot(std::slice::from_ref(&one), &bundle(&[("good", false)])));
    assert!(!holds(&mut cache, &revoked));
}
