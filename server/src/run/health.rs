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
        async move { services.health.check().await.map_or_else(not_ready, |()| CheckOutcome::Passed) }
    });
    match device {
        Some(device) => checks.detail("server.keys", move || describe(device.as_ref())).build(),
        None => checks.build(),
    }
}

fn not_ready(error: NotReady) -> CheckOutcome {
    match error {
        NotReady::FromCache(from_cache) => {
            let (since, remedy) = (from_cache.since, from_cache.obstacle.remedy().to_owned());
            CheckOutcome::FromCache(FromCache { since, reason: explain(&from_cache.obstacle), remedy })
        }
        NotReady::Failed(error) => CheckOutcome::Failed(explain(&error)),
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
