//! The messages: certificates as concatenated DER, the key as PKCS#8, bundles by `spiffe://td`. A domain without authorities is left
//! out and never sent as empty bytes, which clients take as a broken message.

use std::collections::BTreeMap;
use std::sync::Arc;

use plastron_agent_core::WorkloadUpdate;
use plastron_proto::workload::{X509BundlesResponse, X509svid, X509svidResponse};
use plastron_spiffe::{Bundle, TrustDomain};

use crate::hints::with_unique_hints;
use crate::push::View;
use crate::refusal::Refusal;

/// All SVIDs of a workload, in the order of their entries, so that the first stays the default.
pub(crate) fn x509_svids(update: &WorkloadUpdate) -> Result<X509svidResponse, Refusal> {
    let WorkloadUpdate { identities, bundle, federated_bundles } = update;
    let bundle = authorities(bundle).ok_or(Refusal::EmptyBundle)?;
    let svids = with_unique_hints(identities)
        .into_iter()
        .map(|identity| X509svid {
            spiffe_id: identity.spiffe_id.to_string(),
            x509_svid: identity.svid.chain().concat(),
            x509_svid_key: identity.private_key.reveal_pkcs8().to_vec(),
            bundle: bundle.clone(),
            hint: identity.hint.clone(),
        })
        .collect();
    Ok(X509svidResponse { svids, crl: Vec::new(), federated_bundles: bundles_by_id(federated_bundles) })
}

/// The own bundle and those of the domains that the workload's entries federate with.
pub(crate) fn x509_bundles(
    own: &Bundle,
    federated: &BTreeMap<TrustDomain, Arc<Bundle>>,
) -> Result<X509BundlesResponse, Refusal> {
    Ok(X509BundlesResponse { crl: Vec::new(), bundles: x509_authorities(own, federated)? })
}

/// The X.509 authorities of each trust domain that has any.
pub(crate) fn x509_authorities(
    own: &Bundle,
    federated: &BTreeMap<TrustDomain, Arc<Bundle>>,
) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let mut bundles = bundles_by_id(federated);
    // Last, so that nothing a foreign server says stands under the own name.
    bundles.insert(own.trust_domain.id().to_string(), authorities(own).ok_or(Refusal::EmptyBundle)?);
    Ok(bundles)
}

/// Whether two views make the same message of bundles: other SVIDs, JWT authorities or sequence numbers change nothing in it.
pub(crate) fn same_x509_bundles(a: &View, b: &View) -> bool {
    let ((own_a, federated_a), (own_b, federated_b)) = (a.bundles(), b.bundles());
    let same = |a: &Bundle, b: &Bundle| {
        let mut pairs = a.x509_authorities.iter().zip(&b.x509_authorities);
        a.trust_domain == b.trust_domain
            && a.x509_authorities.len() == b.x509_authorities.len()
            && pairs.all(|(a, b)| a.certificate == b.certificate)
    };
    same(own_a, own_b)
        && federated_a.len() == federated_b.len()
        && federated_a.values().zip(federated_b.values()).all(|(a, b)| same(a, b))
}

fn bundles_by_id(bundles: &BTreeMap<TrustDomain, Arc<Bundle>>) -> BTreeMap<String, Vec<u8>> {
    bundles
        .iter()
        .filter_map(|(trust_domain, bundle)| Some((trust_domain.id().to_string(), authorities(bundle)?)))
        .collect()
}

/// Tainted authorities stay: peers still hold SVIDs that they signed.
fn authorities(bundle: &Bundle) -> Option<Vec<u8>> {
    let der: Vec<u8> = bundle.x509_authorities.iter().flat_map(|authority| &authority.certificate).copied().collect();
    (!der.is_empty()).then_some(der)
}

#[cfg(test)]
mod tests;
