//! Calls: how often, how long, with what status.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Instant;

use crate::meter::{counter, histogram, key};
use crate::{Label, Status};

/// Something that is done, takes time and may fail.
pub struct Call {
    name: Cow<'static, str>,
    labels: Vec<Label>,
    by_status: [OnceLock<Handles>; Status::ALL.len()],
}

struct Handles {
    calls: metrics::Counter,
    elapsed_time: metrics::Histogram,
}

impl Call {
    /// By SPIRE's key, with dots.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            labels: Vec::new(),
            by_status: [const { OnceLock::new() }; Status::ALL.len()],
        }
    }

    /// By a key that is made at run time.
    pub fn named(name: String) -> Self {
        Self { name: Cow::Owned(name), ..Self::new("") }
    }

    /// The same with one more label.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        Self { name: self.name, labels: self.labels, ..Self::new("") }
    }

    /// It begins. Whoever drops what this returns before it is [done](Running::done) gave up: Canceled.
    pub fn start(&self) -> Running<&Self> {
        Running::new(self)
    }

    fn ended(&self, begun: Instant, status: Status) {
        let Some(slot) = self.by_status.get(status as usize) else { return };
        let handles = slot.get_or_init(|| {
            let (status, elapsed_time) = (Some(status.name()), format!("{}.elapsed_time", self.name));
            Handles {
                calls: counter(&key(&self.name, &self.labels, status)),
                elapsed_time: histogram(&key(&elapsed_time, &self.labels, status)),
            }
        });
        handles.calls.increment(1);
        handles.elapsed_time.record(begun.elapsed().as_secs_f64() * 1e3);
    }
}

/// A call under way, counted when it ends.
#[must_use = "a call that is dropped at once is counted as cancelled"]
pub struct Running<C: Deref<Target = Call>> {
    call: C,
    begun: Instant,
    status: Status,
}

impl<C: Deref<Target = Call>> Running<C> {
    /// Of a call that is held by a reference of some kind.
    pub fn new(call: C) -> Self {
        Self { call, begun: Instant::now(), status: Status::Canceled }
    }

    /// It ended with this status.
    pub fn done(mut self, status: Status) {
        self.status = status;
    }

    /// It ended with this outcome, which is handed back.
    pub fn ended<T, E>(self, outcome: Result<T, E>) -> Result<T, E> {
        self.done(Status::of(&outcome));
        outcome
    }
}

impl<C: Deref<Target = Call>> Drop for Running<C> {
    fn drop(&mut self) {
        self.call.ended(self.begun, self.status);
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::{Counter, Gauge, Sample};

    /// `kind name{label=value,…} value` of everything that `count` counted.
    fn seen(count: impl FnOnce()) -> Vec<String> {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, count);
        let mut lines: Vec<String> = Vec::new();
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let (kind, key) = key.into_parts();
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(value) => value.to_string(),
                DebugValue::Histogram(values) => format!("{} values", values.len()),
            };
            lines.push(format!("{kind:?} {}{{{}}} {value}", key.name(), labels.join(",")));
        }
        lines.sort();
        lines
    }

    #[test]
    fn a_call_is_counted_by_its_status_with_the_time_that_it_took() {
        let lines = seen(|| {
            let call = Call::new("svid.rotate").label("attestor", "tpm");
            call.start().done(Status::Ok);
            call.start().ended(Ok::<_, ()>(())).unwrap();
            call.start().ended(Err::<(), _>(())).unwrap_err();
            drop(call.start());
        });
        assert_eq!(
            lines,
            [
                "Counter svid.rotate{attestor=tpm,status=Canceled} 1",
                "Counter svid.rotate{attestor=tpm,status=OK} 2",
                "Counter svid.rotate{attestor=tpm,status=Unknown} 1",
                "Histogram svid.rotate.elapsed_time{attestor=tpm,status=Canceled} 1 values",
                "Histogram svid.rotate.elapsed_time{attestor=tpm,status=OK} 2 values",
                "Histogram svid.rotate.elapsed_time{attestor=tpm,status=Unknown} 1 values",
            ]
        );
    }

    #[test]
    fn counters_gauges_and_samples_have_their_labels() {
        let lines = seen(|| {
            let counter = Counter::new("a.b").label("trust_domain_id", "example.org");
            counter.increment();
            counter.add(2);
            let gauge = Gauge::new("c");
            gauge.set(5.0);
            gauge.increment();
            gauge.decrement();
            gauge.decrement();
            Sample::new("d").record(1.5);
        });
        assert_eq!(lines, ["Counter a.b{trust_domain_id=example.org} 3", "Gauge c{} 4", "Histogram d{} 1 values"]);
    }
}
