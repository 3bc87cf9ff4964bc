//! Which events are written, and how that is changed while the program runs.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload;

use super::{AUDIT_TARGET, LoggingError};

/// Which events are written. Libraries beneath ours speak from one level higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Everything, libraries included.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened.
    #[default]
    Info,
    /// What should be looked at.
    Warn,
    /// What failed.
    Error,
    /// Audit lines alone: nothing of ours is fatal and goes on. SPIRE has the name.
    Fatal,
    /// As [`Level::Fatal`].
    Panic,
}

impl Level {
    /// All of them, the most talkative first.
    pub const ALL: [Self; 7] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal, Self::Panic];

    /// SPIRE's word, as log lines and its command line show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
        }
    }

    pub(super) fn filter(self) -> Targets {
        let (ours, libraries) = match self {
            Self::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
            Self::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
            Self::Info => (LevelFilter::INFO, LevelFilter::WARN),
            Self::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
            Self::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
            Self::Fatal | Self::Panic => (LevelFilter::OFF, LevelFilter::OFF),
        };
        Targets::new()
            .with_default(libraries)
            .with_target("plastron", ours)
            .with_target(AUDIT_TARGET, LevelFilter::INFO)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        let word = text.to_ascii_lowercase();
        let word = if word == "warn" { "warning" } else { word.as_str() };
        Self::ALL.into_iter().find(|level| level.as_str() == word).ok_or_else(|| LoggingError::Level(text.to_owned()))
    }
}

/// The level of this process' log, to be read and changed at run time. Clones speak of the same log.
#[derive(Clone)]
pub struct LevelHandle {
    launch: Level,
    current: Arc<Mutex<Level>>,
    filter: reload::Handle<Targets, Registry>,
}

impl LevelHandle {
    /// A filter that starts at `launch`, and its handle.
    pub(super) fn new(launch: Level) -> (reload::Layer<Targets, Registry>, Self) {
        let (layer, filter) = reload::Layer::new(launch.filter());
        (layer, Self { launch, current: Arc::new(Mutex::new(launch)), filter })
    }

    /// The level that the log has now.
    pub fn get(&self) -> Level {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level that the log started with.
    pub fn launch(&self) -> Level {
        self.launch
    }

    /// Writes events from this level on. Audit lines are written at every level.
    pub fn set(&self, level: Level) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only where the subscriber is gone: then nothing is logged at any level.
        if self.filter.reload(level.filter()).is_ok() {
            *current = level;
        }
    }

    /// Goes back to the level that the log started with, and returns it.
    pub fn reset(&self) -> Level {
        self.set(self.launch);
        self.get()
    }
}
