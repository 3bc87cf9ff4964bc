//! How the device behind a store does: what readiness and metrics are told.

use std::time::Duration;

/// The condition of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCondition {
    /// How many calls it may be in at a time.
    pub sessions: usize,
    /// Sessions in a call that has taken longer than the deadline. Such a call can't be cancelled.
    pub hanging: usize,
    /// Calls that wait for a session.
    pub queued: usize,
    /// Whether it is asked at all.
    pub circuit: Circuit,
}

impl DeviceCondition {
    /// True where no session is left that could answer: only a new process helps.
    pub fn all_hang(&self) -> bool {
        self.sessions > 0 && self.hanging >= self.sessions
    }
}

/// Whether a device is asked, after what it answered lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It is asked.
    Closed,
    /// It failed, and is left alone for the time that is left.
    Open {
        /// The failure.
        reason: String,
        /// The time that is left.
        retry_after: Duration,
    },
    /// One call is under way to find out whether it works again; the others still fail at once.
    HalfOpen {
        /// The failure.
        reason: String,
    },
}

/// What was asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a key pair.
    Generate,
    /// Finding and checking one key, or listing all.
    Find,
    /// Signing.
    Sign,
    /// Destroying a key pair.
    Destroy,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Generate, Self::Find, Self::Sign, Self::Destroy];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Find => "find",
            Self::Sign => "sign",
            Self::Destroy => "destroy",
        }
    }
}

/// Time spent in the device by one operation, without waiting in the queue.
#[derive(Clone, Debug)]
pub struct OperationLatency {
    /// Which operation.
    pub operation: Operation,
    /// Calls that the device answered, well or not.
    pub calls: u64,
    /// Their time together.
    pub total: Duration,
    /// Calls by duration: (upper bound, calls no longer than that and longer than the bound before).
    pub buckets: Vec<(Duration, u64)>,
}

impl OperationLatency {
    /// The upper bound of the bucket that holds this share of the calls, in percent: at most twice the true value. `None` where there
    /// were no calls, or where the call was longer than every bound.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = self.calls.saturating_mul(percent.min(100)).div_ceil(100).max(1);
        let mut seen = 0_u64;
        let bound = self.buckets.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        let longest = self.buckets.last().map(|(bound, _)| *bound);
        bound.map(|(bound, _)| *bound).filter(|bound| self.calls > 0 && Some(*bound) != longest)
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, OperationLatency};
    use std::time::Duration;

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket() {
        let ms = Duration::from_millis;
        let of = |counts: [u64; 3]| OperationLatency {
            operation: Operation::Sign,
            calls: counts.iter().sum(),
            total: ms(0),
            buckets: [ms(1), ms(2), Duration::MAX].into_iter().zip(counts).collect(),
        };
        assert_eq!(of([99, 1, 0]).percentile(99), Some(ms(1)));
        assert_eq!(of([98, 2, 0]).percentile(99), Some(ms(2)));
        assert_eq!(of([98, 0, 2]).percentile(99), None);
        assert_eq!(of([0, 0, 0]).percentile(50), None);
        assert_eq!(of([1, 0, 0]).percentile(0), Some(ms(1)));
    }
}
