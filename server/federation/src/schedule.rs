//! When a foreign bundle is fetched again. The one place that decides.

use std::time::Duration;

use plastron_spiffe::Bundle;

/// Fetches in the time of one hint, so that one that fails is made up for before the next rotation (SPIRE: 4).
const ATTEMPTS_PER_HINT: u32 = 4;
/// Shorter hints count as this (SPIRE: 1 min).
const LEAST_HINT: Duration = Duration::from_secs(60);
/// Longer hints count as this: a domain that revokes a key must not wait for a year because a hint said so.
const MOST_HINT: Duration = Duration::from_secs(24 * 3600);
/// The pause where a bundle has no hint (SPIFFE_Federation.md, section 6.2: 5 min).
const WITHOUT_HINT: Duration = Duration::from_secs(5 * 60);
/// The pause where there is no bundle at all: it may be set by hand at any time (SPIRE: 1 min).
const WITHOUT_BUNDLE: Duration = Duration::from_secs(60);

/// How long to wait with the next fetch, by the bundle that is there after this one.
pub(crate) fn pause(bundle: Option<&Bundle>) -> Duration {
    match bundle {
        None => WITHOUT_BUNDLE,
        Some(bundle) => match u64::try_from(bundle.refresh_hint) {
            Ok(0) | Err(_) => WITHOUT_HINT,
            Ok(hint) => Duration::from_secs(hint).clamp(LEAST_HINT, MOST_HINT) / ATTEMPTS_PER_HINT,
        },
    }
}

#[cfg(test)]
mod tests {
    use plastron_spiffe::TrustDomain;

    use super::*;

    #[test]
    fn a_quarter_of_the_hint_within_bounds() {
        let with = |refresh_hint| {
            let bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
            pause(Some(&Bundle { refresh_hint, ..bundle })).as_secs()
        };
        assert_eq!(pause(None).as_secs(), 60);
        assert_eq!([-1, 0, 1, 59, 60, 300, 86_400, i64::MAX].map(with), [300, 300, 15, 15, 15, 75, 21_600, 21_600]);
    }
}
