//! When something is done next: the renewal point of an SVID, back-off with jitter, waiting for a wall-clock time.
//!
//! Renewal at half-life ±10 % is SPIRE's (`pkg/common/rotationutil`). Jitter keeps a site that powers up at once from asking at once.

use std::time::Duration;

use crate::Clock;

/// Longest uninterrupted sleep while waiting for a wall-clock time: the clock may be set, or the machine may have been suspended.
const LONGEST_NAP: Duration = Duration::from_secs(10);

/// What must be left of a life beyond the availability target, or the target is not kept (SPIRE's number): renewing that early would mean
/// renewing all the time.
const LEAST_USE: u64 = 12 * 3600;
/// The availability target is kept by up to so much more (SPIRE's number).
const TARGET_SPREAD: u64 = 600;

/// When to renew what is valid from `from` until `not_after`, in Unix seconds: at half-life ±10 %, or earlier where that much is to be left
/// of it as the availability target asks.
pub(crate) fn renewal_point(from: u64, not_after: u64, availability_target: Option<Duration>) -> u64 {
    let life = not_after.saturating_sub(from);
    let half = from.saturating_add((life / 2).saturating_mul(900 + random_up_to(200)) / 1000);
    match availability_target {
        Some(target) if keeps_target(from, not_after, target) => {
            half.min(not_after.saturating_sub(target.as_secs()).saturating_sub(random_up_to(TARGET_SPREAD)))
        }
        _ => half,
    }
}

/// Whether such a life is long enough for the availability target.
pub(crate) fn keeps_target(from: u64, not_after: u64, target: Duration) -> bool {
    not_after.saturating_sub(from).saturating_sub(target.as_secs()) > LEAST_USE
}

/// A duration ±10 %.
pub(crate) fn jittered(duration: Duration) -> Duration {
    scale(duration, 900 + random_up_to(200))
}

/// Waits until the wall clock shows `at`, in Unix seconds, however it gets there; or until it shows a time before `from`, which it does
/// where it was set back: what is valid from then on is not valid any more.
pub(crate) async fn sleep_until(clock: &dyn Clock, from: u64, at: u64) {
    loop {
        let now = clock.now().as_secs();
        let left = at.saturating_sub(now);
        if left == 0 || now < from {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left).min(LONGEST_NAP)).await;
    }
}

/// Doubling delays ±25 %.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), failures: 0 }
    }

    /// The delay after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.longest);
        self.failures = self.failures.saturating_add(1).min(31);
        scale(delay, 750 + random_up_to(500))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Delays anywhere between nothing and a bound that doubles: agents that failed at the same moment do not come back at the same moment.
pub(crate) struct SpreadBackoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl SpreadBackoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), failures: 0 }
    }

    /// The delay after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.longest);
        self.failures = self.failures.saturating_add(1).min(31);
        random_below(bound)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Anywhere between nothing and `bound`.
pub(crate) fn random_below(bound: Duration) -> Duration {
    scale(bound, random_up_to(1000))
}

fn scale(duration: Duration, thousandths: u64) -> Duration {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_mul(thousandths) / 1000)
}

/// 0 to `bound`; the middle where the system has no randomness, since jitter is no secret.
pub(crate) fn random_up_to(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % (bound + 1),
        Err(_) => bound / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_outlast_an_outage_is_renewed_early_where_its_life_is_long_enough() {
        const HOUR: u64 = 3600;
        let target = Some(Duration::from_secs(24 * HOUR));
        let earliest = |life: u64| (0..200).map(|_| renewal_point(0, life, target)).min().unwrap();
        let latest = |life: u64| (0..200).map(|_| renewal_point(0, life, target)).max().unwrap();
        // 40 hours: half a life would leave 20, so it is renewed when 24 are left, or up to ten minutes more.
        assert!(earliest(40 * HOUR) >= 16 * HOUR - 600);
        assert!(latest(40 * HOUR) <= 16 * HOUR);
        // 36 hours: half a day beyond the target is too little.
        assert!(earliest(36 * HOUR) >= 36 * HOUR * 45 / 100);
        // 100 hours: half a life leaves more than the target.
        assert!(latest(100 * HOUR) <= 100 * HOUR * 55 / 100);
        assert!(earliest(100 * HOUR) >= 100 * HOUR * 45 / 100);
    }

    #[test]
    fn renewal_is_at_half_life_within_a_tenth() {
        for _ in 0..1000 {
            let at = renewal_point(1000, 4600, None);
            assert!((1000 + 1620..=1000 + 1980).contains(&at), "{at}");
        }
    }

    #[test]
    fn an_inverted_validity_is_due_at_once() {
        assert_eq!(renewal_point(1000, 900, None), 1000);
    }

    #[test]
    fn spread_delays_are_anywhere_below_a_bound_that_doubles() {
        let (first, longest) = (Duration::from_secs(2), Duration::from_secs(60));
        for (failures, bound) in [2_u64, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let delays: Vec<Duration> = (0..500)
                .map(|_| {
                    let mut backoff = SpreadBackoff::new(first, longest);
                    (0..failures).for_each(|_| {
                        backoff.next();
                    });
                    backoff.next()
                })
                .collect();
            let bound = Duration::from_secs(bound);
            assert!(delays.iter().all(|delay| *delay <= bound));
            for quarter in 0..4 {
                let within =
                    delays.iter().filter(|delay| (bound * quarter / 4..=bound * (quarter + 1) / 4).contains(delay));
                assert!(within.count() > 60, "quarter {quarter} of {bound:?}");
            }
        }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
        for expected in [5_u64, 10, 20, 40, 60, 60, 60] {
            let delay = backoff.next();
            let (low, high) = (Duration::from_millis(expected * 750), Duration::from_millis(expected * 1250));
            assert!((low..=high).contains(&delay), "{delay:?} for {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(75));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(6250));
    }
}
