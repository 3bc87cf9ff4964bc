//! What the wire may say, and what it becomes.

use plastron_proto::spire::api::server::agent::v1::list_agents_request;
use plastron_proto::spire::api::server::entry::v1::list_entries_request;
use plastron_proto::types::entry::AdditionalAttributes;
use plastron_proto::types::{Entry, EntryMask, SelectorMatch, Spiffeid};
use plastron_server_core::registration::MatchBehavior;

use super::*;

fn own() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(path: &str) -> Option<Spiffeid> {
    Some(Spiffeid { trust_domain: "example.org".into(), path: path.into() })
}

fn selector(value: &str) -> types::Selector {
    types::Selector { r#type: "unix".into(), value: value.into() }
}

fn full() -> Entry {
    Entry {
        id: "e-1".into(),
        spiffe_id: id("/db"),
        parent_id: id("/spire/agent/tpm/ab"),
        selectors: vec![selector("gid:1"), selector("uid:1")],
        x509_svid_ttl: 60,
        federates_with: vec!["a.org".into(), "b.org".into()],
        admin: true,
        downstream: true,
        expires_at: 9,
        dns_names: vec!["db".into()],
        revision_number: 0,
        store_svid: true,
        jwt_svid_ttl: 30,
        hint: "h".into(),
        created_at: 0,
        additional_attributes: Some(AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            jwt_svid_include_jti: true,
        }),
    }
}

#[test]
fn an_entry_survives_the_way_in_and_out() {
    let entry = entry::from_proto(full(), &own()).unwrap();
    assert_eq!(entry::to_proto(&entry, None), full());
    let (spiffe_id, parent_id, selectors) = (id("/db"), id("/p"), vec![selector("uid:1")]);
    let plain = Entry { spiffe_id, parent_id, selectors, ..Entry::default() };
    assert_eq!(entry::to_proto(&entry::from_proto(plain.clone(), &own()).unwrap(), None), plain);
}

#[test]
fn a_mask_leaves_only_what_it_names() {
    let entry = entry::from_proto(full(), &own()).unwrap();
    let masked = entry::to_proto(&entry, Some(&EntryMask { hint: true, ..EntryMask::default() }));
    assert_eq!(masked, Entry { id: "e-1".into(), hint: "h".into(), ..Entry::default() });
}

#[test]
fn a_patch_changes_what_the_mask_names_and_without_one_everything() {
    let mask = EntryMask { admin: true, x509_svid_ttl: true, ..EntryMask::default() };
    let wire = Entry { id: "e-1".into(), x509_svid_ttl: 7, ..Entry::default() };
    let patch = entry::to_patch(wire.clone(), Some(&mask), &own()).unwrap();
    assert_eq!(
        (patch.admin, patch.x509_svid_ttl, patch.selectors, patch.spiffe_id),
        (Some(false), Some(7), None, None)
    );
    assert_eq!(entry::to_patch(wire, None, &own()), Err(ConvertError::NoId.within("invalid parent ID")));
    assert_eq!(entry::to_patch(full(), None, &own()).unwrap().hint, Some("h".to_owned()));
}

#[test]
fn selectors_are_sorted_unique_and_bounded() {
    let parsed = selectors(vec![selector("uid:2"), selector("uid:1"), selector("uid:2")]).unwrap();
    assert_eq!(parsed.iter().map(Selector::value).collect::<Vec<_>>(), ["uid:1", "uid:2"]);
    let many = vec![selector("uid:1"); MAX_SELECTORS + 1];
    assert!(matches!(selectors(many), Err(ConvertError::TooMany { .. })));
    assert!(matches!(selectors(vec![selector("")]), Err(ConvertError::Selector(_))));
}

#[test]
fn what_is_no_agent_id_is_refused() {
    let own = own();
    assert!(agent_id(id("/spire/agent/tpm/ab"), &own).is_ok());
    for path in ["", "/db", "/spire/server", "/spire/agent", "spire/agent/x", "/spire/agent/"] {
        assert!(agent_id(id(path), &own).is_err(), "{path}");
    }
    let foreign = Some(Spiffeid { trust_domain: "other.org".into(), path: "/spire/agent/tpm/ab".into() });
    assert!(matches!(agent_id(foreign, &own), Err(ConvertError::Not { reason: "", .. })));
    assert_eq!(agent_id(None, &own), Err(ConvertError::NoId));
}

#[test]
fn filters_are_taken_whole_or_refused() {
    let by_selectors = Some(SelectorMatch { selectors: vec![selector("uid:1")], r#match: 3 });
    let filter = list_entries_request::Filter { by_selectors, by_downstream: Some(false), ..Default::default() };
    let parsed = filter::entries(Some(filter), &own()).unwrap();
    assert_eq!(parsed.selectors.map(|(_, behavior)| behavior), Some(MatchBehavior::Any));
    assert_eq!(parsed.downstream, None, "SPIRE sends false for: whichever");

    for (selectors, r#match) in [(vec![], 0), (vec![selector("uid:1")], 9)] {
        let by_selectors = Some(SelectorMatch { selectors, r#match });
        let filter = list_entries_request::Filter { by_selectors, ..Default::default() };
        assert!(filter::entries(Some(filter), &own()).is_err());
    }
    let before = |text: &str| list_agents_request::Filter { by_expires_before: text.into(), ..Default::default() };
    assert_eq!(filter::nodes(Some(before("1970-01-02 00:00:00 +0000 +00"))).unwrap().expires_before, Some(86_400));
    assert!(filter::nodes(Some(before("tomorrow"))).is_err());
}
