//! Indexes of the state: each answers one question without a walk through everything.

mod entries;
mod federated;
mod nodes;

pub(crate) use entries::EntryIndex;
pub(crate) use federated::Federated;
pub(crate) use nodes::NodeIndex;

/// Whether every element of `part` is in `whole`. Both are sorted.
pub(crate) fn is_sorted_subset<T: Ord>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|wanted| rest.by_ref().find(|have| *have >= wanted).is_some_and(|have| have == wanted))
}
