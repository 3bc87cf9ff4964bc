//! The admin socket, with this program's log and delegates behind it.

use std::sync::Arc;
use std::time::Instant;

use plastron_agent_core::AgentInfo;
use plastron_agent_workload_api::admin::{AdminServer, Delegates, LogControl};
use plastron_agent_workload_api::{LogLevel, ServeError, WorkloadApi};
use plastron_daemon::config::explain;
use plastron_daemon::logging::{Level, LevelHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;

/// Binds the socket, and serves until `stop`.
pub(crate) fn serve(
    admin: &config::Admin,
    api: WorkloadApi,
    info: AgentInfo,
    log: LevelHandle,
    started: Instant,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let delegates = Delegates::new(admin.delegates.iter().cloned());
    let server = AdminServer::bind(&admin.socket_path, api, delegates, info, Arc::new(LogLevels(log)), started)?;
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = server.serve(stop.cancelled_owned()).await {
            tracing::error!(error = explain(&error), "Admin APIs stopped prematurely");
        }
    });
    Ok(())
}

/// The level of this program's log, by the names of the wire.
struct LogLevels(LevelHandle);

/// Each level's name on the wire.
const LOG_LEVELS: [(Level, LogLevel); 7] = [
    (Level::Trace, LogLevel::Trace),
    (Level::Debug, LogLevel::Debug),
    (Level::Info, LogLevel::Info),
    (Level::Warn, LogLevel::Warn),
    (Level::Error, LogLevel::Error),
    (Level::Fatal, LogLevel::Fatal),
    (Level::Panic, LogLevel::Panic),
];

fn log_level(of: Level) -> LogLevel {
    LOG_LEVELS.iter().find(|(level, _)| *level == of).map_or(LogLevel::Unspecified, |(_, name)| *name)
}

impl LogControl for LogLevels {
    fn level(&self) -> LogLevel {
        log_level(self.0.get())
    }

    fn launch_level(&self) -> LogLevel {
        log_level(self.0.launch())
    }

    fn set_level(&self, level: LogLevel) {
        if let Some((level, _)) = LOG_LEVELS.iter().find(|(_, name)| *name == level) {
            self.0.set(*level);
        }
    }
}
