//! Registration entries.

use plastron_proto::types::entry::AdditionalAttributes;
use plastron_proto::types::{self, Entry, EntryMask};
use plastron_server_core::registration::EntryPatch;
use plastron_spiffe::x509::MAX_DNS_NAMES;
use plastron_spiffe::{MAX_FEDERATES_WITH, MAX_HINT_LEN, RegistrationEntry, Selector, TrustDomain, check_dns_names};

use super::{ConvertError, member_id, selectors, selectors_to_proto, spiffe_id_to_proto, workload_id};

/// What an absent mask means.
const EVERYTHING: EntryMask = EntryMask {
    spiffe_id: true,
    parent_id: true,
    selectors: true,
    x509_svid_ttl: true,
    federates_with: true,
    admin: true,
    downstream: true,
    expires_at: true,
    dns_names: true,
    revision_number: true,
    store_svid: true,
    jwt_svid_ttl: true,
    hint: true,
    created_at: true,
    additional_attributes: true,
};

/// The fields that the mask asks for; the identifier always.
pub(crate) fn to_proto(entry: &RegistrationEntry, mask: Option<&EntryMask>) -> Entry {
    let mask = mask.unwrap_or(&EVERYTHING);
    let attributes = AdditionalAttributes {
        disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
        jwt_svid_include_jti: entry.jwt_svid_include_jti,
    };
    let has_attributes = attributes != AdditionalAttributes::default();
    fn list<T>(wanted: bool, make: impl FnOnce() -> Vec<T>) -> Vec<T> {
        if wanted { make() } else { Vec::new() }
    }
    let domains = || entry.federates_with.iter().map(|domain| domain.as_str().to_owned()).collect();
    // A lifetime came in as an int32.
    let ttl = |wanted: bool, seconds: u32| if wanted { i32::try_from(seconds).unwrap_or(i32::MAX) } else { 0 };
    let number = |wanted: bool, value: i64| if wanted { value } else { 0 };
    Entry {
        id: entry.id.clone(),
        spiffe_id: mask.spiffe_id.then(|| spiffe_id_to_proto(&entry.spiffe_id)),
        parent_id: mask.parent_id.then(|| spiffe_id_to_proto(&entry.parent_id)),
        selectors: list(mask.selectors, || selectors_to_proto(&entry.selectors)),
        x509_svid_ttl: ttl(mask.x509_svid_ttl, entry.x509_svid_ttl),
        federates_with: list(mask.federates_with, domains),
        admin: mask.admin && entry.admin,
        downstream: mask.downstream && entry.downstream,
        expires_at: number(mask.expires_at, entry.expires_at),
        dns_names: list(mask.dns_names, || entry.dns_names.clone()),
        revision_number: number(mask.revision_number, entry.revision_number),
        store_svid: mask.store_svid && entry.store_svid,
        jwt_svid_ttl: ttl(mask.jwt_svid_ttl, entry.jwt_svid_ttl),
        hint: if mask.hint { entry.hint.clone() } else { String::new() },
        created_at: number(mask.created_at, entry.created_at),
        additional_attributes: (mask.additional_attributes && has_attributes).then_some(attributes),
    }
}

/// An entry to be created, checked in SPIRE's order; the services set revision and time of creation.
pub(crate) fn from_proto(entry: Entry, own: &TrustDomain) -> Result<RegistrationEntry, ConvertError> {
    let attributes = entry.additional_attributes.unwrap_or_default();
    Ok(RegistrationEntry {
        id: entry.id,
        parent_id: member_id(entry.parent_id, own).map_err(|error| error.within(PARENT_ID))?,
        spiffe_id: workload_id(entry.spiffe_id, own).map_err(|error| error.within(SPIFFE_ID))?,
        dns_names: dns_names(entry.dns_names)?,
        federates_with: trust_domains(&entry.federates_with).map_err(|error| error.within(FEDERATES_WITH))?,
        selectors: some_selectors(entry.selectors)?,
        x509_svid_ttl: seconds("x509_svid_ttl", entry.x509_svid_ttl)?,
        jwt_svid_ttl: seconds("jwt_svid_ttl", entry.jwt_svid_ttl)?,
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at,
        revision_number: 0,
        store_svid: entry.store_svid,
        hint: hint(entry.hint)?,
        created_at: 0,
        disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti: attributes.jwt_svid_include_jti,
    })
}

/// An entry's new values: those that the mask names, or all of them without a mask.
pub(crate) fn to_patch(entry: Entry, mask: Option<&EntryMask>, own: &TrustDomain) -> Result<EntryPatch, ConvertError> {
    fn wanted<T>(wanted: bool, value: impl FnOnce() -> Result<T, ConvertError>) -> Result<Option<T>, ConvertError> {
        if wanted { value().map(Some) } else { Ok(None) }
    }
    let mask = mask.unwrap_or(&EVERYTHING);
    let attributes = entry.additional_attributes.unwrap_or_default();
    let parent_id = || member_id(entry.parent_id, own).map_err(|error| error.within(PARENT_ID));
    let spiffe_id = || workload_id(entry.spiffe_id, own).map_err(|error| error.within(SPIFFE_ID));
    let federates_with = || trust_domains(&entry.federates_with).map_err(|error| error.within(FEDERATES_WITH));
    Ok(EntryPatch {
        id: entry.id,
        parent_id: wanted(mask.parent_id, parent_id)?,
        spiffe_id: wanted(mask.spiffe_id, spiffe_id)?,
        dns_names: wanted(mask.dns_names, || dns_names(entry.dns_names))?,
        federates_with: wanted(mask.federates_with, federates_with)?,
        selectors: wanted(mask.selectors, || some_selectors(entry.selectors))?,
        x509_svid_ttl: wanted(mask.x509_svid_ttl, || seconds("x509_svid_ttl", entry.x509_svid_ttl))?,
        jwt_svid_ttl: wanted(mask.jwt_svid_ttl, || seconds("jwt_svid_ttl", entry.jwt_svid_ttl))?,
        admin: mask.admin.then_some(entry.admin),
        downstream: mask.downstream.then_some(entry.downstream),
        expires_at: mask.expires_at.then_some(entry.expires_at),
        store_svid: mask.store_svid.then_some(entry.store_svid),
        hint: wanted(mask.hint, || hint(entry.hint))?,
        disable_x509_svid_prefetch: mask.additional_attributes.then_some(attributes.disable_x509_svid_prefetch),
        jwt_svid_include_jti: mask.additional_attributes.then_some(attributes.jwt_svid_include_jti),
    })
}

const PARENT_ID: &str = "invalid parent ID";
const SPIFFE_ID: &str = "invalid spiffe ID";
const FEDERATES_WITH: &str = "invalid federated trust domain";

fn some_selectors(list: Vec<types::Selector>) -> Result<Vec<Selector>, ConvertError> {
    if list.is_empty() { Err(ConvertError::NoSelector) } else { selectors(list) }
}

fn dns_names(names: Vec<String>) -> Result<Vec<String>, ConvertError> {
    if names.len() > MAX_DNS_NAMES {
        return Err(ConvertError::TooMany { what: "DNS names", got: names.len(), limit: MAX_DNS_NAMES });
    }
    check_dns_names(&names)?;
    Ok(names)
}

fn hint(hint: String) -> Result<String, ConvertError> {
    if hint.len() > MAX_HINT_LEN { Err(ConvertError::Hint) } else { Ok(hint) }
}

/// Trust domains by name or by SPIFFE ID, sorted and without duplicates.
pub(crate) fn trust_domains(names: &[String]) -> Result<Vec<TrustDomain>, ConvertError> {
    if names.len() > MAX_FEDERATES_WITH {
        return Err(ConvertError::TooMany { what: "trust domains", got: names.len(), limit: MAX_FEDERATES_WITH });
    }
    let mut domains = names.iter().map(|name| TrustDomain::parse(name)).collect::<Result<Vec<_>, _>>()?;
    domains.sort_unstable();
    domains.dedup();
    Ok(domains)
}

fn seconds(what: &'static str, value: i32) -> Result<u32, ConvertError> {
    u32::try_from(value).map_err(|_negative| ConvertError::Negative { what, got: value.into() })
}
