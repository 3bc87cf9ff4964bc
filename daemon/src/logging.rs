//! The log: SPIRE's text form or JSON, one unbuffered line per event. Audit lines are lines of it, and can be written with a result
//! ([`AuditWriter`]).
//!
//! Text: `time=… level=… msg="…"`, then the fields in alphabetical order, quoted only where needed, the form that scripts
//! around SPIRE match. JSON: one object per line with the same keys. Fields of the spans around an event are fields of the
//! event. What comes from outside is escaped in both forms, so that no value can forge a line or steer a terminal.

mod audit;
mod fields;
mod layer;
mod level;
mod line;
mod sink;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use audit::{AuditRecord, AuditWriter};
use layer::{LineLayer, lost_line};
pub use level::{Level, LevelHandle};
pub use line::FieldValue;
use sink::Sink;
pub use sink::{Reopen, WriteFailure};

/// What the log is to be. The default is SPIRE's: INFO, text, standard error.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Which events.
    pub level: Level,
    /// How they are written.
    pub format: Format,
    /// Where to; `None` is standard error.
    pub file: Option<PathBuf>,
    /// Whether each line names its place in the source.
    pub source_location: bool,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why the log can't start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The file can't be opened.
    #[error("can't open the log file {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process has a log already.
    #[error("the log was started already")]
    Started,
    /// No such level.
    #[error("{0:?} is no log level: use TRACE, DEBUG, INFO, WARN or ERROR")]
    Level(String),
    /// No such format.
    #[error("{0:?} is no log format: use text or json")]
    Format(String),
}

impl FromStr for Format {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text.to_ascii_lowercase().as_str() {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format(text.to_owned())),
        }
    }
}

/// The tracing target of audit lines: whatever the level, they are written.
pub const AUDIT_TARGET: &str = "audit";
/// The tracing target of audit lines that say that nothing was done, which anyone can cause. The level's filter takes it for one below
/// [`AUDIT_TARGET`].
pub const AUDIT_REFUSAL_TARGET: &str = "audit::refusal";

/// The log of this process.
pub struct Log {
    /// Reopens the log file, for SIGUSR2 after a rotation.
    pub reopen: Reopen,
    /// Writes audit lines with a result.
    pub audit: AuditWriter,
    /// Which events are written, to be changed at run time.
    pub level: LevelHandle,
}

/// Starts the log of this process.
pub fn start(options: &LogOptions) -> Result<Log, LoggingError> {
    let (subscriber, log) = subscriber(options)?;
    subscriber.try_init().map_err(|_| LoggingError::Started)?;
    Ok(log)
}

fn subscriber(options: &LogOptions) -> Result<(impl SubscriberInitExt + use<>, Log), LoggingError> {
    let sink = Sink::open(options.file.as_deref(), lost_line(options.format))
        .map_err(|source| LoggingError::File { path: options.file.clone().unwrap_or_default(), source })?;
    let (filter, level) = LevelHandle::new(options.level);
    let log = Log { reopen: sink.reopener(), audit: AuditWriter::new(sink.clone(), options.format), level };
    let lines = LineLayer::new(sink, options.format, options.source_location);
    Ok((tracing_subscriber::registry().with(filter).with(lines), log))
}

#[cfg(test)]
mod tests;
