//! SPIFFE IDs travel in two parts, trust domain and path.

use plastron_proto::types::Spiffeid;
use plastron_spiffe::{SpiffeId, TrustDomain};

use super::ConvertError;

/// Where the IDs of nodes stand.
const AGENT_PREFIX: &str = "/spire/agent/";

pub(crate) fn spiffe_id(id: Option<Spiffeid>) -> Result<SpiffeId, ConvertError> {
    let Spiffeid { trust_domain, path } = id.ok_or(ConvertError::Missing { what: "SPIFFE ID" })?;
    let parsed = TrustDomain::parse(&trust_domain).and_then(|trust_domain| trust_domain.with_path(&path));
    parsed.map_err(|source| ConvertError::Id { source })
}

/// `None` where there is none.
pub(crate) fn optional_id(id: Option<Spiffeid>) -> Result<Option<SpiffeId>, ConvertError> {
    id.map(|id| spiffe_id(Some(id))).transpose()
}

/// The ID of a node in the server's own trust domain.
pub(crate) fn agent_id(id: Option<Spiffeid>, own: &TrustDomain) -> Result<SpiffeId, ConvertError> {
    let id = spiffe_id(id)?;
    if id.trust_domain() != own {
        return Err(ConvertError::NotAMember { id, trust_domain: own.clone() });
    }
    let reason = match id.path().strip_prefix(AGENT_PREFIX) {
        Some(_) => return Ok(id),
        None if id.is_trust_domain() => "path is empty",
        None => "path is not in the agent namespace",
    };
    Err(ConvertError::NotAnAgent { id: id.as_str().to_owned(), trust_domain: own.clone(), reason })
}

pub(crate) fn spiffe_id_to_proto(id: &SpiffeId) -> Spiffeid {
    Spiffeid { trust_domain: id.trust_domain().as_str().to_owned(), path: id.path().to_owned() }
}
