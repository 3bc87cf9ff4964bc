//! FetchJWTSVID and ValidateJWTSVID, and the messages of FetchJWTBundles (SPIFFE_Workload_API.md, section 6).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use plastron_agent_core::BundleSet;
use plastron_agent_core::jwt::{Audience, JwtSvids, JwtToken};
use plastron_agent_core::upstream::AuthorizedEntry;
use plastron_proto::workload as wire;
use plastron_spiffe::jwt::validate;
use plastron_spiffe::x509::BundleSource;
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};
use rustls_pki_types::UnixTime;

use crate::claims::{ForeignClaims, shown};
use crate::hints::with_unique_hints;
use crate::push::View;
use crate::refusal::{Escaped, Refusal};

/// Tokens of one caller that are asked for at once; a workload has a handful of entries.
const PARALLEL_TOKENS: usize = 8;

/// What a caller asks for, checked before the caller is.
pub(crate) struct TokenRequest {
    audience: Audience,
    only: Option<SpiffeId>,
}

impl TokenRequest {
    pub(crate) fn read(request: wire::JwtsvidRequest) -> Result<Self, Refusal> {
        let wire::JwtsvidRequest { audience, spiffe_id } = request;
        let audience = Audience::parse(audience).map_err(Refusal::Audience)?;
        let only = match spiffe_id.as_str() {
            "" => None,
            id => Some(SpiffeId::parse(id).map_err(Refusal::RequestedId)?),
        };
        Ok(Self { audience, only })
    }
}

/// One token for each of the entries, in their order. One that can't be had fails them all.
pub(crate) async fn fetch(
    svids: &JwtSvids,
    entries: &[Arc<AuthorizedEntry>],
    request: &TokenRequest,
) -> Result<wire::JwtsvidResponse, Refusal> {
    let TokenRequest { audience, only } = request;
    // Hints are made unique first, as SPIRE does: an ID that lost its hint to another is not there.
    let wanted: Vec<Arc<AuthorizedEntry>> = with_unique_hints(entries)
        .into_iter()
        .filter(|entry| only.as_ref().is_none_or(|id| *id == entry.spiffe_id))
        .cloned()
        .collect();
    let tokens = tokens(svids, wanted, audience).await?;
    let svids: Vec<_> = tokens
        .into_iter()
        .map(|(entry, token)| wire::Jwtsvid {
            spiffe_id: entry.spiffe_id.to_string(),
            svid: token.reveal().to_owned(),
            hint: entry.hint.clone(),
        })
        .collect();
    if svids.is_empty() { Err(Refusal::NoIdentity) } else { Ok(wire::JwtsvidResponse { svids }) }
}

/// One token for each of the entries, in their order. One that can't be had fails them all.
pub(crate) async fn tokens(
    svids: &JwtSvids,
    entries: Vec<Arc<AuthorizedEntry>>,
    audience: &Audience,
) -> Result<Vec<(Arc<AuthorizedEntry>, Arc<JwtToken>)>, Refusal> {
    let tokens = entries.into_iter().map(|entry| async move {
        let token = svids.fetch(&entry, audience).await.map_err(Refusal::Token)?;
        tracing::debug!(
            method = "FetchJWTSVID", spiffe_id = %entry.spiffe_id, expires_at = token.expires_at(), "Fetched JWT SVID"
        );
        Ok::<_, Refusal>((entry, token))
    });
    iter(tokens).buffered(PARALLEL_TOKENS).try_collect().await
}

/// What a caller wants validated, checked before the caller is.
pub(crate) struct Validation {
    audience: String,
    token: String,
}

impl Validation {
    pub(crate) fn read(request: wire::ValidateJwtsvidRequest) -> Result<Self, Refusal> {
        match request {
            wire::ValidateJwtsvidRequest { audience, .. } if audience.is_empty() => Err(Refusal::NoAudience),
            wire::ValidateJwtsvidRequest { svid, .. } if svid.is_empty() => Err(Refusal::NoToken),
            wire::ValidateJwtsvidRequest { audience, svid: token } => Ok(Self { audience, token }),
        }
    }

    /// Validates against the bundles that the caller may have.
    pub(crate) fn run(
        &self,
        bundles: &BundleSet,
        foreign: &ForeignClaims,
        now: UnixTime,
    ) -> Result<wire::ValidateJwtsvidResponse, Refusal> {
        let svid = validate(&self.token, &self.audience, &Trusted(bundles), now).map_err(Refusal::InvalidToken)?;
        tracing::debug!(spiffe_id = %svid.id(), audience = ?self.audience, "Successfully validated JWT");
        let claims = shown(&svid, &bundles.bundle.trust_domain, foreign);
        Ok(wire::ValidateJwtsvidResponse { spiffe_id: svid.id().to_string(), claims: Some(claims) })
    }
}

struct Trusted<'a>(&'a BundleSet);

impl BundleSource for Trusted<'_> {
    /// The own name first, so that nothing a foreign server says stands under it.
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        let BundleSet { bundle, federated_bundles } = self.0;
        if bundle.trust_domain == *trust_domain {
            return Some(bundle);
        }
        federated_bundles.get(trust_domain).map(|bundle| &**bundle)
    }
}

/// JWT authorities as plain JWK sets. The own domain is always there; a foreign one without authorities, or with one that is no key,
/// is left out.
pub(crate) fn bundles(view: &View) -> Result<wire::JwtBundlesResponse, Refusal> {
    let (own, federated) = view.bundles();
    Ok(wire::JwtBundlesResponse { bundles: jwk_sets(own, federated)? })
}

/// The JWK set of each trust domain.
pub(crate) fn jwk_sets(
    own: &Bundle,
    federated: &BTreeMap<TrustDomain, Arc<Bundle>>,
) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let mut bundles = BTreeMap::new();
    let foreign = federated.values().map(|bundle| &**bundle).filter(|bundle| !bundle.jwt_authorities.is_empty());
    let name = |bundle: &Bundle| bundle.trust_domain.id().to_string();
    for bundle in foreign {
        match bundle.to_jwt_jwks() {
            Ok(jwks) => drop(bundles.insert(name(bundle), jwks.into_bytes())),
            // What another domain publishes must not take our own keys from our workloads.
            Err(error) => tracing::error!(
                trust_domain = %bundle.trust_domain, error = %Escaped(&error),
                "The JWT authorities of a federated trust domain are left out: they can't be written as a JWK set"
            ),
        }
    }
    // The own one last, so that nothing a foreign server says stands under its name.
    bundles.insert(name(own), own.to_jwt_jwks().map_err(Refusal::Jwks)?.into_bytes());
    Ok(bundles)
}

/// Whether two views make the same message of JWT bundles: other SVIDs, X.509 authorities or sequence numbers change nothing in it.
pub(crate) fn same_bundles(a: &View, b: &View) -> bool {
    let ((own_a, federated_a), (own_b, federated_b)) = (a.bundles(), b.bundles());
    let same = |a: &Bundle, b: &Bundle| {
        let mut pairs = a.jwt_authorities.iter().zip(&b.jwt_authorities);
        a.trust_domain == b.trust_domain
            && a.jwt_authorities.len() == b.jwt_authorities.len()
            && pairs.all(|(a, b)| a.key_id == b.key_id && a.public_key == b.public_key)
    };
    same(own_a, own_b)
        && federated_a.len() == federated_b.len()
        && federated_a.values().zip(federated_b.values()).all(|(a, b)| same(a, b))
}
