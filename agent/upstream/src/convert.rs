//! From the server's messages to the agent's types. What does not parse is named; an entry that does not parse is left out, so that
//! one bad entry does not stop the others.

use std::sync::Arc;

use plastron_agent_core::upstream::{AuthorizedEntry, UpstreamError};
use plastron_proto::types;
use plastron_spiffe::{Bundle, JwtAuthority, Selector, SpiffeId, TrustDomain, X509Authority};

/// Most X.509 or JWT authorities of a bundle: a trust domain has a handful per server.
const MAX_AUTHORITIES: usize = 1024;
/// Most selectors of an entry, and most trust domains that it federates with.
const MAX_PER_ENTRY: usize = 1024;
/// Longest entry id and hint that a server may have.
const MAX_TEXT_LEN: usize = 1024;

pub(crate) fn bundle(rpc: &'static str, message: types::Bundle) -> Result<Bundle, UpstreamError> {
    let malformed = |reason: String| UpstreamError::MalformedReply { rpc, reason };
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities: _,
    } = message;
    if x509_authorities.len().max(jwt_authorities.len()) > MAX_AUTHORITIES {
        return Err(malformed(format!("more than {MAX_AUTHORITIES} authorities in a bundle")));
    }
    let trust_domain = TrustDomain::parse(&trust_domain)
        .map_err(|error| malformed(format!("trust domain {trust_domain:?}: {error}")))?;
    let x509_authorities = x509_authorities
        .into_iter()
        .map(|types::X509Certificate { asn1, tainted }| {
            let authority =
                X509Authority::parse(asn1).map_err(|error| malformed(format!("X.509 authority: {error}")))?;
            Ok(X509Authority { tainted, ..authority })
        })
        .collect::<Result<_, UpstreamError>>()?;
    let jwt_authorities = jwt_authorities
        .into_iter()
        .map(|types::JwtKey { public_key, key_id, expires_at, tainted }| {
            if key_id.is_empty() || public_key.is_empty() {
                return Err(malformed("a JWT authority without key or key id".to_owned()));
            }
            Ok(JwtAuthority { key_id, public_key, expires_at, tainted })
        })
        .collect::<Result<_, UpstreamError>>()?;
    Ok(Bundle { trust_domain, x509_authorities, jwt_authorities, refresh_hint, sequence_number })
}

/// The chain of an SVID; whether it is a good one, `agent/core` checks.
pub(crate) fn chain(rpc: &'static str, svid: Option<types::X509svid>) -> Result<Vec<Vec<u8>>, UpstreamError> {
    match svid {
        Some(types::X509svid { cert_chain, id: _, expires_at: _, hint: _ }) if !cert_chain.is_empty() => Ok(cert_chain),
        _ => Err(UpstreamError::MalformedReply { rpc, reason: "no certificate in the reply".to_owned() }),
    }
}

/// An entry of our trust domain, or why it is none.
pub(crate) fn entry(message: types::Entry, own: &TrustDomain) -> Result<AuthorizedEntry, String> {
    let types::Entry {
        id,
        spiffe_id,
        selectors,
        federates_with,
        revision_number,
        store_svid,
        hint,
        created_at,
        additional_attributes,
        parent_id: _,
        x509_svid_ttl: _,
        admin,
        downstream,
        expires_at: _,
        dns_names: _,
        jwt_svid_ttl: _,
    } = message;
    if id.is_empty() || id.len() > MAX_TEXT_LEN || hint.len() > MAX_TEXT_LEN {
        return Err(format!("an id of {} and a hint of {} bytes", id.len(), hint.len()));
    }
    if selectors.len().max(federates_with.len()) > MAX_PER_ENTRY {
        return Err(format!("{} selectors and {} federated trust domains", selectors.len(), federates_with.len()));
    }
    let spiffe_id = spiffe_id.ok_or("no SPIFFE ID")?;
    let spiffe_id = self::spiffe_id(&spiffe_id).map_err(|error| format!("SPIFFE ID: {error}"))?;
    if spiffe_id.trust_domain() != own || spiffe_id.is_trust_domain() {
        return Err(format!("{spiffe_id} is no workload's ID of {own}"));
    }
    let mut selectors = selectors
        .into_iter()
        .map(|types::Selector { r#type, value }| Selector::new(r#type, value).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    selectors.sort();
    selectors.dedup();
    if selectors.is_empty() {
        return Err("no selector".to_owned());
    }
    let federates_with = federates_with
        .iter()
        .map(|text| TrustDomain::parse(text).map_err(|error| format!("federates with {text:?}: {error}")))
        .collect::<Result<_, _>>()?;
    let types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti } =
        additional_attributes.unwrap_or_default();
    Ok(AuthorizedEntry {
        id: Arc::from(id),
        spiffe_id,
        selectors,
        federates_with,
        hint,
        revision: revision_number,
        created_at,
        admin,
        downstream,
        store_svid,
        disable_x509_svid_prefetch,
        jwt_svid_include_jti,
    })
}

pub(crate) fn spiffe_id(message: &types::Spiffeid) -> Result<SpiffeId, plastron_spiffe::SpiffeIdError> {
    TrustDomain::parse(&message.trust_domain)?.with_path(&message.path)
}
