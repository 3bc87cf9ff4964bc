//! How long the token takes, by operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plastron_hsm::{Operation, OperationLatency};

/// Upper bounds of the buckets: powers of two from 64 µs to 33 s, and one for the rest.
const BUCKETS: usize = 21;
const FIRST_BOUND: u64 = 64;

#[derive(Default)]
pub(crate) struct Latencies([Histogram; 4]);

#[derive(Default)]
struct Histogram {
    calls: AtomicU64,
    microseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Latencies {
    pub(crate) fn record(&self, operation: Operation, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = bounds().position(|bound| microseconds <= bound).unwrap_or(BUCKETS - 1);
        let place = Operation::ALL.iter().position(|each| *each == operation);
        if let Some(histogram) = place.and_then(|place| self.0.get(place)) {
            histogram.calls.fetch_add(1, Ordering::Relaxed);
            histogram.microseconds.fetch_add(microseconds, Ordering::Relaxed);
            if let Some(bucket) = histogram.buckets.get(bucket) {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<OperationLatency> {
        let of = |(operation, histogram): (Operation, &Histogram)| OperationLatency {
            operation,
            calls: histogram.calls.load(Ordering::Relaxed),
            total: Duration::from_micros(histogram.microseconds.load(Ordering::Relaxed)),
            buckets: bounds()
                .zip(&histogram.buckets)
                .map(|(bound, count)| (Duration::from_micros(bound), count.load(Ordering::Relaxed)))
                .collect(),
        };
        Operation::ALL.into_iter().zip(&self.0).map(of).collect()
    }
}

fn bounds() -> impl Iterator<Item = u64> {
    let finite = (0..).map(|power| FIRST_BOUND << power).take(BUCKETS - 1);
    finite.chain([u64::MAX])
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use plastron_hsm::Operation;
    use std::time::Duration;

    #[test]
    fn each_duration_falls_in_its_bucket() {
        let latencies = Latencies::default();
        for micros in [1, 64, 65, 1_000_000_000] {
            latencies.record(Operation::Sign, Duration::from_micros(micros));
        }
        let sign = latencies.snapshot().into_iter().find(|each| each.operation == Operation::Sign).unwrap();
        assert_eq!((sign.calls, sign.total), (4, Duration::from_micros(1_000_000_130)));
        assert_eq!((sign.buckets[0].1, sign.buckets[1].1, sign.buckets[20].1), (2, 1, 1));
        assert_eq!(sign.buckets.iter().map(|(_, count)| count).sum::<u64>(), 4);
    }
}
