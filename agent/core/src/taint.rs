//! Which SVIDs must be replaced because the authority that signed them is tainted (SPIRE: `pkg/agent/manager`, tainted authorities).
//!
//! A tainted authority is still in the bundle, so what it signed still verifies until it is revoked: SVIDs are replaced, and never
//! dropped. At once, but not all at the same moment: every agent of the trust domain learns of a taint in the same second.

use std::sync::Arc;

use plastron_spiffe::Bundle;
use plastron_spiffe::x509::{Purpose, X509Svid, subject_key_id, verify_chain};
use rustls_pki_types::UnixTime;

use crate::schedule::random_up_to;

/// Replacements begin within so many seconds, spread evenly: an operator who taints an authority waits that long at least before revoking it.
const SPREAD: u64 = 10;
/// A life may be short: its replacement is not put off for longer than this part of what is left of it.
const PART_OF_LIFE: u64 = 4;

/// The tainted authorities of a bundle, as a bundle of their own; `None` where there are none.
pub(crate) fn tainted_authorities(bundle: &Bundle) -> Option<Arc<Bundle>> {
    let tainted: Vec<_> = bundle.x509_authorities.iter().filter(|authority| authority.tainted).cloned().collect();
    let only = |x509_authorities| Bundle { x509_authorities, ..Bundle::empty(bundle.trust_domain.clone()) };
    (!tainted.is_empty()).then(|| Arc::new(only(tainted)))
}

/// Logs in SPIRE's words which authorities the later bundle holds as tainted and the earlier one did not.
pub(crate) fn report_new_taints(earlier: Option<&Bundle>, later: &Bundle) {
    let x509 = |bundle: &Bundle| -> Vec<String> {
        let tainted = bundle.x509_authorities.iter().filter(|authority| authority.tainted);
        tainted.filter_map(|authority| subject_key_id(&authority.certificate)).collect()
    };
    let jwt = |bundle: &Bundle| -> Vec<String> {
        let tainted = bundle.jwt_authorities.iter().filter(|authority| authority.tainted);
        tainted.map(|authority| authority.key_id.clone()).collect()
    };
    let new = |list: &dyn Fn(&Bundle) -> Vec<String>| {
        let known = earlier.map(list).unwrap_or_default();
        let new: Vec<_> = list(later).into_iter().filter(|id| !known.contains(id)).collect();
        (!new.is_empty()).then(|| new.join(","))
    };
    if let Some(subject_key_ids) = new(&x509) {
        tracing::debug!(subject_key_ids, "New tainted X.509 authorities found");
    }
    if let Some(jwt_authority_key_ids) = new(&jwt) {
        tracing::debug!(jwt_authority_key_ids, "New tainted JWT authorities found");
    }
}

/// Whether the later bundle lacks an X.509 authority of the earlier one.
pub(crate) fn lost_an_authority(earlier: &Bundle, later: &Bundle) -> bool {
    let held = |certificate: &[u8]| later.x509_authorities.iter().any(|authority| authority.certificate == certificate);
    earlier.x509_authorities.iter().any(|authority| !held(&authority.certificate))
}

/// Whether the chain leads to one of these authorities. What has expired need not be replaced by this rule.
pub(crate) fn leads_to(svid: &X509Svid, authorities: &Bundle, now: UnixTime) -> bool {
    verify_chain(svid.clone(), authorities, Purpose::Any, now).is_ok()
}

/// When to replace an SVID that lives until `not_after`, Unix seconds.
pub(crate) fn replacement_point(now: u64, not_after: u64) -> u64 {
    let left = not_after.saturating_sub(now);
    now.saturating_add(random_up_to(SPREAD.min(left / PART_OF_LIFE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_spread_but_not_beyond_a_short_life() {
        let points: std::collections::BTreeSet<u64> = (0..1000).map(|_| replacement_point(1000, 4600)).collect();
        assert_eq!(points, (1000..=1010).collect());
        assert!((0..1000).all(|_| replacement_point(1000, 1008) <= 1002));
        assert_eq!(replacement_point(1000, 900), 1000);
    }
}
