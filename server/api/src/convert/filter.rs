//! Filters and pages of lists.

use plastron_proto::spire::api::server::agent::v1::list_agents_request;
use plastron_proto::spire::api::server::entry::v1::list_entries_request;
use plastron_proto::types::{FederatesWithMatch, SelectorMatch};
use plastron_server_core::nodes::NodeFilter;
use plastron_server_core::page::PageRequest;
use plastron_server_core::registration::{EntryFilter, MatchBehavior};
use plastron_spiffe::{Selector, TrustDomain};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::entry::trust_domains;
use super::{ConvertError, member_id, selectors, workload_id};
use crate::status::Failure;

/// `2006-01-02 15:04:05 -0700 -07` in Go's notation.
const EXPIRES_BEFORE: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute] [offset_hour sign:mandatory]"
);

/// Negative sizes count as none, as in SPIRE.
pub(crate) fn page(size: i32, token: String) -> PageRequest {
    PageRequest { size: usize::try_from(size).unwrap_or(0), token }
}

/// What is wrong with which filter.
fn malformed<T>(filter: &'static str, parsed: Result<T, ConvertError>) -> Result<T, Failure> {
    parsed.map_err(|source| Failure::Request { step: filter, source })
}

pub(crate) fn entries(filter: Option<list_entries_request::Filter>, own: &TrustDomain) -> Result<EntryFilter, Failure> {
    let Some(filter) = filter else { return Ok(EntryFilter::default()) };
    let list_entries_request::Filter {
        by_spiffe_id,
        by_parent_id,
        by_selectors,
        by_federates_with,
        by_hint,
        by_downstream,
    } = filter;
    let parent_id = by_parent_id.map(|id| member_id(Some(id), own)).transpose();
    let spiffe_id = by_spiffe_id.map(|id| workload_id(Some(id), own)).transpose();
    let selectors = by_selectors.map(selector_match).transpose();
    let federates_with = by_federates_with.map(federates_with_match).transpose();
    Ok(EntryFilter {
        parent_id: malformed("malformed parent ID filter", parent_id)?,
        spiffe_id: malformed("malformed SPIFFE ID filter", spiffe_id)?,
        selectors: malformed("malformed selectors filter", selectors)?,
        federates_with: malformed("malformed federates with filter", federates_with)?,
        hint: by_hint.filter(|hint| !hint.is_empty()),
        // SPIRE's command line always sends this filter, and `false` there means: all entries.
        downstream: by_downstream.filter(|downstream| *downstream),
    })
}

pub(crate) fn nodes(filter: Option<list_agents_request::Filter>) -> Result<NodeFilter, Failure> {
    let Some(filter) = filter else { return Ok(NodeFilter::default()) };
    let list_agents_request::Filter {
        by_attestation_type,
        by_selector_match,
        by_banned,
        by_can_reattest,
        by_expires_before,
    } = filter;
    let selectors = by_selector_match.map(selector_match).transpose();
    Ok(NodeFilter {
        attestation_type: Some(by_attestation_type).filter(|name| !name.is_empty()),
        selectors: malformed("failed to parse selectors", selectors)?,
        banned: by_banned,
        can_reattest: by_can_reattest,
        expires_before: malformed("malformed expiry filter", moment(&by_expires_before))?,
    })
}

fn moment(text: &str) -> Result<Option<u64>, ConvertError> {
    if text.is_empty() {
        return Ok(None);
    }
    match time::OffsetDateTime::parse(text, EXPIRES_BEFORE) {
        // Before 1970 nothing expired.
        Ok(moment) => Ok(Some(u64::try_from(moment.unix_timestamp()).unwrap_or(0))),
        Err(_other_form) => Err(ConvertError::Time { text: text.to_owned() }),
    }
}

fn selector_match(filter: SelectorMatch) -> Result<(Vec<Selector>, MatchBehavior), ConvertError> {
    let selectors = selectors(filter.selectors)?;
    if selectors.is_empty() {
        return Err(ConvertError::Empty { what: "selector" });
    }
    Ok((selectors, behavior(filter.r#match)?))
}

fn federates_with_match(filter: FederatesWithMatch) -> Result<(Vec<TrustDomain>, MatchBehavior), ConvertError> {
    let domains = trust_domains(&filter.trust_domains)?;
    if domains.is_empty() {
        return Err(ConvertError::Empty { what: "trust domain" });
    }
    Ok((domains, behavior(filter.r#match)?))
}

/// Both enums of the API have these numbers.
fn behavior(number: i32) -> Result<MatchBehavior, ConvertError> {
    match number {
        0 => Ok(MatchBehavior::Exact),
        1 => Ok(MatchBehavior::Subset),
        2 => Ok(MatchBehavior::Superset),
        3 => Ok(MatchBehavior::Any),
        got => Err(ConvertError::Match { got }),
    }
}
