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

/// The first fetch after a start is within this where a bundle is held, which serves meanwhile: servers that share a power supply, and ask one
/// endpoint, do not ask it at the same moment.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// And within this where there is none: workloads wait for it.
const FIRST_WITHIN_WITHOUT_BUNDLE: Duration = Duration::from_secs(2);

/// How long to wait with the first fetch after a start.
pub(crate) fn first(bundle: Option<&Bundle>) -> Duration {
    let within = if bundle.is_some() { FIRST_WITHIN } else { FIRST_WITHIN_WITHOUT_BUNDLE };
    scale(within, random_up_to(1000))
}

/// As long as [`pause`], ±10 %: servers that once asked at the same moment part.
pub(crate) fn next(bundle: Option<&Bundle>) -> Duration {
    scale(pause(bundle), 900 + random_up_to(200))
}

fn scale(duration: Duration, thousandths: u32) -> Duration {
    duration * thousandths / 1000
}

/// 0 to `bound`; the middle where the system has no randomness, since jitter is no secret.
fn random_up_to(bound: u32) -> u32 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes) % (bound + 1),
        Err(_) => bound / 2,
    }
}

/// How long to wait with the next fetch, by the bundle that is there after this one.
fn pause(bundle: Option<&Bundle>) -> Duration {
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

    #[test]
    fn servers_that_start_together_do_not_ask_together() {
        let held = Bundle::empty(TrustDomain::parse("example.org").unwrap());
        for (bundle, first_within, next_within) in
            [(None, 0.0..=2.0, 54.0..=66.0), (Some(&held), 0.0..=30.0, 270.0..=330.0)]
        {
            for (draw, within) in [(first as fn(_) -> _, first_within), (next, next_within)] {
                let drawn: Vec<f64> = (0..1000).map(|_| draw(bundle).as_secs_f64()).collect();
                assert!(drawn.iter().all(|one| within.contains(one)));
                let width = (within.end() - within.start()) / 4.0;
                for quarter in 0..4 {
                    let from = within.start() + width * f64::from(quarter);
                    let there = drawn.iter().filter(|one| (from..from + width).contains(*one)).count();
                    assert!(there > 150, "{there} of 1000 in quarter {quarter} of {within:?}");
                }
            }
        }
    }
}
