//! What an agent may serve, by names alone: what its streams are told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use plastron_spiffe::TrustDomain;

/// Names for the bundles of foreign trust domains; `None` where there is none.
pub type ForeignNames = BTreeMap<TrustDomain, Option<u64>>;

/// The names of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorized {
    /// Of the set of its entries.
    pub(crate) entries: u64,
    /// Of the bundles of the trust domains that those federate with.
    pub(crate) foreign: Arc<ForeignNames>,
}

/// What rises whenever something that agents are told of may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Some entry.
    pub(crate) entries: u64,
    /// The bundle of some foreign trust domain.
    pub(crate) foreign: u64,
}

/// Of `now`, what is not so in `before`. What is in `before` alone is of no interest: no entry federates with it any more.
pub(super) fn news(before: &ForeignNames, now: &ForeignNames) -> ForeignNames {
    let is_new = |(domain, name): &(&TrustDomain, &Option<u64>)| before.get(*domain) != Some(*name);
    now.iter().filter(is_new).map(|(domain, name)| (domain.clone(), *name)).collect()
}
