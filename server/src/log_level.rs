//! The level of this server's log, for the Logger API.

use plastron_daemon::logging::{Level, LevelHandle};
use plastron_server_api::{LogControl, LogLevel};

/// The program's log, as far as its level goes.
pub(crate) struct LogLevelOf(pub(crate) LevelHandle);

impl LogControl for LogLevelOf {
    fn current(&self) -> LogLevel {
        to_api(self.0.get())
    }

    fn launch(&self) -> LogLevel {
        to_api(self.0.launch())
    }

    fn set(&self, level: LogLevel) {
        if let Some(level) = from_api(level) {
            self.0.set(level);
        }
    }
}

fn to_api(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
        Level::Fatal => LogLevel::Fatal,
        Level::Panic => LogLevel::Panic,
    }
}

fn from_api(level: LogLevel) -> Option<Level> {
    Level::ALL.into_iter().find(|known| to_api(*known) == level)
}
