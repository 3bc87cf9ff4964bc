//! Which entries a list wants.

use plastron_spiffe::{RegistrationEntry, Selector, SpiffeId, TrustDomain};

use crate::index::is_sorted_subset;

/// How a set that was asked for is compared with the set that an entry or node has (`SelectorMatch.MatchBehavior`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchBehavior {
    /// Both are the same.
    Exact,
    /// All that it has was asked for.
    Subset,
    /// It has all that was asked for.
    Superset,
    /// It has some of what was asked for.
    Any,
}

impl MatchBehavior {
    /// Compares two sorted sets.
    pub fn matches<T: Ord>(self, wanted: &[T], have: &[T]) -> bool {
        match self {
            Self::Exact => wanted == have,
            Self::Subset => !have.is_empty() && is_sorted_subset(have, wanted),
            Self::Superset => is_sorted_subset(wanted, have),
            Self::Any => wanted.iter().any(|wanted| have.binary_search(wanted).is_ok()),
        }
    }
}

/// Which entries are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// With this SPIFFE ID.
    pub spiffe_id: Option<SpiffeId>,
    /// Below this parent.
    pub parent_id: Option<SpiffeId>,
    /// Selectors, compared in this way. Sorted, no duplicates.
    pub selectors: Option<(Vec<Selector>, MatchBehavior)>,
    /// Foreign trust domains, compared in this way. Sorted, no duplicates.
    pub federates_with: Option<(Vec<TrustDomain>, MatchBehavior)>,
    /// With this hint.
    pub hint: Option<String>,
    /// Of downstream servers or not.
    pub downstream: Option<bool>,
}

impl EntryFilter {
    pub(crate) fn wants(&self, entry: &RegistrationEntry) -> bool {
        let Self { spiffe_id, parent_id, selectors, federates_with, hint, downstream } = self;
        spiffe_id.as_ref().is_none_or(|wanted| *wanted == entry.spiffe_id)
            && parent_id.as_ref().is_none_or(|wanted| *wanted == entry.parent_id)
            && hint.as_ref().is_none_or(|wanted| *wanted == entry.hint)
            && downstream.is_none_or(|wanted| wanted == entry.downstream)
            && selectors.as_ref().is_none_or(|(wanted, behavior)| behavior.matches(wanted, &entry.selectors))
            && federates_with.as_ref().is_none_or(|(wanted, behavior)| behavior.matches(wanted, &entry.federates_with))
    }
}
