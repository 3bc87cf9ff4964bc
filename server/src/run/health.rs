//! What `/live` and `/ready` tell of the server.
//!
//! SPIRE's server is live and ready where it can serve its bundle; ours is ready where it can issue, because that is what fails by itself:
//! a token that is gone. While it serves what it has, `/ready` answers 503 and `/live` 200: others should be asked, and a restart
//! helps nobody.

use std::sync::Arc;

use plastron_daemon::config::explain;
use plastron_daemon::health::{CheckOutcome, Checks, FromCache};
use plastron_hsm::{Circuit, DeviceCondition, KeyDevice, OperationLatency};
use plastron_server_core::Services;
use plastron_server_core::health::NotReady;
use serde_json::{Value, json};

pub(super) fn checks(services: &Arc<Services>, device: Option<Arc<dyn KeyDevice>>) -> Checks {
    let services = Arc::clone(services);
    let checks = Checks::builder().live("server", || async { Ok(()) }).ready_or_from_cache("server.ca", move || {
        let services = Arc::clone(&services);
        async move { services.health.check().await.map_or_else(|error| not_ready(&error), |()| CheckOutcome::Passed) }
    });
    match device {
        Some(device) => checks.detail("server.keys", move || describe(device.as_ref())).build(),
        None => checks.build(),
    }
}

fn not_ready(error: &NotReady) -> CheckOutcome {
    match error {
        NotReady::FromCache(from_cache) => {
            let (since, remedy) = (from_cache.since, from_cache.obstacle.remedy().to_owned());
            CheckOutcome::FromCache(FromCache { since, reason: explain(&from_cache.obstacle), remedy })
        }
        NotReady::Failed(error) => CheckOutcome::Failed(explain(error)),
    }
}

/// The device of the key manager. It is not asked for this.
fn describe(device: &dyn KeyDevice) -> Value {
    let DeviceCondition { sessions, hanging, queued, circuit } = device.condition();
    let circuit = match circuit {
        Circuit::Closed => json!({ "state": "closed" }),
        Circuit::Open { reason, retry_after } => {
            json!({ "state": "open", "reason": reason, "retry_after_ms": whole(retry_after.as_millis()) })
        }
        Circuit::HalfOpen { reason } => json!({ "state": "half-open", "reason": reason }),
    };
    let latencies: serde_json::Map<_, _> =
        device.latencies().iter().map(|latency| (latency.operation.as_str().to_owned(), histogram(latency))).collect();
    json!({ "sessions": sessions, "hanging": hanging, "queued": queued, "circuit": circuit, "latency": latencies })
}

fn histogram(latency: &OperationLatency) -> Value {
    let OperationLatency { operation: _, calls, total, buckets } = latency;
    let below = |percent| latency.percentile(percent).map(|bound| whole(bound.as_micros()));
    // Microseconds up to which, and how many; the last one has no bound.
    let filled = buckets.iter().filter(|(_, count)| *count > 0);
    let buckets: Vec<_> = filled.map(|(bound, count)| json!([whole(bound.as_micros()), count])).collect();
    json!({
        "calls": calls,
        "total_us": whole(total.as_micros()),
        "p50_below_us": below(50),
        "p99_below_us": below(99),
        "buckets_us": buckets,
    })
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plastron_hsm::Operation;
    use plastron_server_core::health::{FromCache as Cached, Obstacle};

    use super::*;

    struct Token(Circuit);

    impl KeyDevice for Token {
        fn condition(&self) -> DeviceCondition {
            DeviceCondition { sessions: 2, hanging: 1, queued: 3, circuit: self.0.clone() }
        }

        fn latencies(&self) -> Vec<OperationLatency> {
            let ms = Duration::from_millis;
            let buckets = vec![(ms(1), 98), (ms(2), 0), (ms(4), 2), (Duration::from_micros(u64::MAX), 0)];
            vec![OperationLatency { operation: Operation::Sign, calls: 100, total: ms(90), buckets }]
        }
    }

    #[test]
    fn a_device_is_shown_with_its_circuit_and_its_histogram() {
        let (reason, retry_after) = ("CKR_DEVICE_ERROR".to_owned(), Duration::from_millis(1500));
        let shown = describe(&Token(Circuit::Open { reason, retry_after }));
        assert_eq!(
            shown,
            json!({
                "sessions": 2, "hanging": 1, "queued": 3,
                "circuit": { "state": "open", "reason": "CKR_DEVICE_ERROR", "retry_after_ms": 1500 },
                "latency": { "sign": {
                    "calls": 100, "total_us": 90_000, "p50_below_us": 1000, "p99_below_us": 4000,
                    "buckets_us": [[1000, 98], [4000, 2]],
                } },
            })
        );
        assert_eq!(describe(&Token(Circuit::Closed))["circuit"], json!({ "state": "closed" }));
    }

    #[test]
    fn a_server_that_serves_from_its_cache_says_since_when_why_and_what_to_do() {
        let cached = Cached { since: 7, obstacle: Obstacle::NoAnswer { seconds: 3 } };
        let CheckOutcome::FromCache(told) = not_ready(&NotReady::FromCache(cached)) else {
            unreachable!("it is cached")
        };
        assert_eq!(told.since, 7);
        assert!(told.reason.contains("within 3 s") && told.remedy.contains("restart this server"), "{told:?}");
    }
}
