//! What the agent checks of a certificate chain that the server sends it.

use plastron_spiffe::x509::{BundleSource, Purpose, SvidError, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;

const AGENT_PATH_PREFIX: &str = "/spire/agent/";

/// Checks, in order: the chain has the form of an X.509-SVID; its ID is of our trust domain and an agent's; where we had an ID
/// already and renew, it is the same; the key is ours; the chain leads to an authority of `bundle` and is valid at `now`.
pub(crate) fn check_agent_svid(
    chain: Vec<Vec<u8>>,
    own: &TrustDomain,
    renewed: Option<&SpiffeId>,
    public_key: &[u8],
    bundle: &Bundle,
    now: UnixTime,
) -> Result<X509Svid, IssuedError> {
    let svid = X509Svid::parse(chain)?;
    let id = svid.claimed_id();
    let rest = id.path().strip_prefix(AGENT_PATH_PREFIX).unwrap_or_default();
    if id.trust_domain() != own || rest.is_empty() {
        return Err(IssuedError::NotAnAgent { got: id.clone(), trust_domain: own.clone() });
    }
    if let Some(expected) = renewed
        && expected != id
    {
        return Err(IssuedError::OtherId { got: id.clone(), expected: expected.clone() });
    }
    check_key(&svid, public_key)?;
    Ok(verify_chain(svid, &OneBundle(bundle), Purpose::Any, now)?.svid().clone())
}

/// Checks, in order: the chain has the form of an X.509-SVID; its ID is the entry's; the key is ours; it has not expired. Whether it
/// chains to the bundle is for the workload's peers to verify; the server that sent it was verified by TLS.
pub(crate) fn check_workload_svid(
    chain: Vec<Vec<u8>>,
    expected: &SpiffeId,
    public_key: &[u8],
    now: UnixTime,
) -> Result<X509Svid, IssuedError> {
    let svid = X509Svid::parse(chain)?;
    if svid.claimed_id() != expected {
        return Err(IssuedError::OtherId { got: svid.claimed_id().clone(), expected: expected.clone() });
    }
    check_key(&svid, public_key)?;
    if svid.not_after() <= now.as_secs() {
        return Err(IssuedError::Svid(SvidError::Expired { not_after: svid.not_after(), now: now.as_secs() }));
    }
    Ok(svid)
}

fn check_key(svid: &X509Svid, public_key: &[u8]) -> Result<(), IssuedError> {
    if svid.public_key() != public_key {
        return Err(IssuedError::OtherKey { id: svid.claimed_id().clone() });
    }
    Ok(())
}

/// Checks that a bundle is of our trust domain and has an authority.
pub(crate) fn check_bundle(bundle: &Bundle, expected: &TrustDomain) -> Result<(), IssuedError> {
    if bundle.trust_domain != *expected {
        return Err(IssuedError::OtherBundle { got: bundle.trust_domain.clone(), expected: expected.clone() });
    }
    if bundle.x509_authorities.is_empty() {
        return Err(IssuedError::EmptyBundle { trust_domain: expected.clone() });
    }
    Ok(())
}

struct OneBundle<'a>(&'a Bundle);

impl BundleSource for OneBundle<'_> {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        (self.0.trust_domain == *trust_domain).then_some(self.0)
    }
}

/// Why the agent does not take what the server issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuedError {
    /// Not an acceptable X.509-SVID.
    #[error("no acceptable X.509-SVID")]
    Svid(#[from] SvidError),
    /// Not the ID of an agent of our trust domain.
    #[error("the server issued {got} where an agent's ID of trust domain {trust_domain} was expected")]
    NotAnAgent {
        /// The ID in the certificate.
        got: SpiffeId,
        /// Our trust domain.
        trust_domain: TrustDomain,
    },
    /// Another ID than asked for, or than before the renewal.
    #[error("the server issued {got} where {expected} was expected")]
    OtherId {
        /// The ID in the certificate.
        got: SpiffeId,
        /// The ID asked for.
        expected: SpiffeId,
    },
    /// For a key that is not the one in the CSR.
    #[error("the server issued {id} for another key than the one in our CSR")]
    OtherKey {
        /// The ID in the certificate.
        id: SpiffeId,
    },
    /// The bundle of another trust domain.
    #[error("the server sent the bundle of {got} where that of {expected} was expected")]
    OtherBundle {
        /// The bundle's trust domain.
        got: TrustDomain,
        /// The one asked for.
        expected: TrustDomain,
    },
    /// A bundle without X.509 authorities.
    #[error("the server sent a bundle of {trust_domain} without X.509 authorities")]
    EmptyBundle {
        /// The bundle's trust domain.
        trust_domain: TrustDomain,
    },
}

#[cfg(test)]
mod tests;
