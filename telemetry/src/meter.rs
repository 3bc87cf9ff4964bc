//! Counters, gauges and samples.

use std::borrow::Cow;
use std::sync::OnceLock;

use metrics::{Key, Level, Metadata};

use crate::Label;

const METADATA: Metadata<'static> = Metadata::new("plastron", Level::INFO, None);

/// A key with its labels.
pub(crate) fn key(name: &str, labels: &[Label], status: Option<&'static str>) -> Key {
    let labels = labels.iter().map(|(name, value)| metrics::Label::new(*name, value.clone()));
    let status = status.map(|status| metrics::Label::from_static_parts("status", status));
    Key::from_parts(name.to_owned(), labels.chain(status).collect::<Vec<_>>())
}

macro_rules! meter {
    ($(#[$doc:meta])* $name:ident, $handle:ty, $register:ident) => {
        $(#[$doc])*
        pub struct $name {
            name: Cow<'static, str>,
            labels: Vec<Label>,
            handle: OnceLock<$handle>,
        }

        impl $name {
            /// By SPIRE's key, with dots.
            pub const fn new(name: &'static str) -> Self {
                Self { name: Cow::Borrowed(name), labels: Vec::new(), handle: OnceLock::new() }
            }

            /// The same with one more label.
            #[must_use]
            pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
                self.labels.push((name, value.into()));
                self.handle = OnceLock::new();
                self
            }

            /// Looks the recorder up at the first use: a program installs it before it does anything that counts.
            fn handle(&self) -> &$handle {
                self.handle.get_or_init(|| {
                    metrics::with_recorder(|recorder| recorder.$register(&key(&self.name, &self.labels, None), &METADATA))
                })
            }
        }
    };
}

meter!(
    /// Something that happens.
    Counter, metrics::Counter, register_counter
);
meter!(
    /// Something that goes up and down.
    Gauge, metrics::Gauge, register_gauge
);
meter!(
    /// A quantity each time that it is seen, in the unit that its key says.
    Sample, metrics::Histogram, register_histogram
);

impl Counter {
    /// It happened once more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// It happened so many times more.
    pub fn add(&self, times: u64) {
        self.handle().increment(times);
    }
}

impl Gauge {
    /// It is so much now.
    pub fn set(&self, value: f64) {
        self.handle().set(value);
    }

    /// One more now.
    pub fn increment(&self) {
        self.handle().increment(1.0);
    }

    /// One less now.
    pub fn decrement(&self) {
        self.handle().decrement(1.0);
    }
}

impl Sample {
    /// It was so much this time.
    pub fn record(&self, value: f64) {
        self.handle().record(value);
    }
}

pub(crate) fn counter(key: &Key) -> metrics::Counter {
    metrics::with_recorder(|recorder| recorder.register_counter(key, &METADATA))
}

pub(crate) fn histogram(key: &Key) -> metrics::Histogram {
    metrics::with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
}
