//! `spire.api.server.logger.v1.Logger`, on the Unix socket: the log's level, while the server runs.
//!
//! The log belongs to the program, which hands in what reads and sets its level.

use std::sync::Arc;

use plastron_proto::spire::api::server::logger::v1::logger_server::Logger;
use plastron_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::types::{self, LogLevel};
use plastron_server_core::audit;
use plastron_server_core::authorization::rpc;
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::status::Failure;

/// The level of the program's log. `Unspecified` is no level, and never passed or returned.
pub trait LogControl: Send + Sync {
    /// What is logged now.
    fn current(&self) -> LogLevel;
    /// What was logged when the program started.
    fn launch(&self) -> LogLevel;
    /// Logs from this level on.
    fn set(&self, level: LogLevel);
}

pub(crate) struct LoggerService {
    pub(crate) context: Context,
    pub(crate) log: Arc<dyn LogControl>,
}

impl LoggerService {
    fn levels(&self) -> Response<types::Logger> {
        let (current_level, launch_level) = (self.log.current().into(), self.log.launch().into());
        Response::new(types::Logger { current_level, launch_level })
    }
}

/// As SPIRE's lines show it.
fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Unspecified => "unspecified",
        LogLevel::Panic => "panic",
        LogLevel::Fatal => "fatal",
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

#[tonic::async_trait]
impl Logger for LoggerService {
    async fn get_logger(&self, request: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        let _permit = self.context.permit::<rpc::GetLogger, _>(&request).await?;
        tracing::info!("GetLogger Called");
        Ok(self.levels())
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let permit = self.context.permit::<rpc::SetLogLevel, _>(&request).await?;
        let level = match LogLevel::try_from(request.into_inner().new_level) {
            Ok(LogLevel::Unspecified) => {
                return Err(Failure::Protocol("newLevel value cannot be LogLevel_UNSPECIFIED").into());
            }
            Err(_unknown) => return Err(Failure::Protocol("unsupported log level").into()),
            Ok(level) => level,
        };
        // Before it may fall silent.
        audit::change(permit.identity(), "log level set", word(level), "ok");
        tracing::info!(new_log_level = word(level), "SetLogLevel Called");
        self.log.set(level);
        Ok(self.levels())
    }

    async fn reset_log_level(&self, request: Request<ResetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let permit = self.context.permit::<rpc::ResetLogLevel, _>(&request).await?;
        let level = self.log.launch();
        audit::change(permit.identity(), "log level reset", word(level), "ok");
        tracing::info!(launch_log_level = word(level), "ResetLogLevel Called");
        self.log.set(level);
        Ok(self.levels())
    }
}
