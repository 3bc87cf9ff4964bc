//! SPIFFE IDs travel in two parts, trust domain and path. Which of them a field takes is said in SPIRE's words.

use plastron_proto::types::Spiffeid;
use plastron_spiffe::{SpiffeId, TrustDomain};

use super::ConvertError;

/// Where the IDs of nodes stand.
const AGENT_PREFIX: &str = "/spire/agent/";

fn spiffe_id(id: Option<Spiffeid>) -> Result<SpiffeId, ConvertError> {
    let Spiffeid { trust_domain, path } = id.ok_or(ConvertError::NoId)?;
    Ok(TrustDomain::parse(&trust_domain)?.with_path(&path)?)
}

/// An ID in the server's own trust domain, or why it is not one of those that `what` names.
fn own(
    id: Option<Spiffeid>,
    own: &TrustDomain,
    what: &'static str,
    why_not: impl Fn(&SpiffeId) -> Option<&'static str>,
) -> Result<SpiffeId, ConvertError> {
    let id = spiffe_id(id)?;
    let (what, reason) = if id.trust_domain() != own {
        ("a member of", "")
    } else if id.is_trust_domain() {
        (what, "; path is empty")
    } else if let Some(reason) = why_not(&id) {
        (what, reason)
    } else {
        return Ok(id);
    };
    Err(ConvertError::Not { id, what, trust_domain: own.clone(), reason })
}

/// Any ID in the server's own trust domain but the trust domain's.
pub(crate) fn member_id(id: Option<Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    own(id, trust_domain, "a member of", |_id| None)
}

/// The ID of a workload in the server's own trust domain: not that of a server or an agent.
pub(crate) fn workload_id(id: Option<Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let reserved = |id: &SpiffeId| id.is_reserved().then_some("; path is in the reserved namespace");
    own(id, trust_domain, "a workload in", reserved)
}

/// The ID of a node in the server's own trust domain.
pub(crate) fn agent_id(id: Option<Spiffeid>, trust_domain: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let elsewhere =
        |id: &SpiffeId| (!id.path().starts_with(AGENT_PREFIX)).then_some("; path is not in the agent namespace");
    own(id, trust_domain, "an agent in", elsewhere)
}

pub(crate) fn spiffe_id_to_proto(id: &SpiffeId) -> Spiffeid {
    Spiffeid { trust_domain: id.trust_domain().as_str().to_owned(), path: id.path().to_owned() }
}
