//! `spire.api.agent.logger.v1.Logger`.

use std::sync::Arc;

use plastron_proto::spire::api::agent::logger::v1::logger_server::Logger;
use plastron_proto::spire::api::agent::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::types;
use plastron_proto::types::LogLevel;
use tonic::{Request, Response, Status};

/// The level of the program's log, which the program keeps.
pub trait LogControl: Send + Sync {
    /// The level that is in force.
    fn level(&self) -> LogLevel;

    /// The level that the program was started with.
    fn launch_level(&self) -> LogLevel;

    /// Has another level in force. It is never `Unspecified`.
    fn set_level(&self, level: LogLevel);
}

pub(super) struct LoggerService(pub(super) Arc<dyn LogControl>);

impl LoggerService {
    fn answer(&self) -> Response<types::Logger> {
        Response::new(types::Logger {
            current_level: self.0.level().into(),
            launch_level: self.0.launch_level().into(),
        })
    }
}

#[tonic::async_trait]
impl Logger for LoggerService {
    async fn get_logger(&self, _request: Request<GetLoggerRequest>) -> Result<Response<types::Logger>, Status> {
        tracing::info!("GetLogger Called");
        Ok(self.answer())
    }

    async fn set_log_level(&self, request: Request<SetLogLevelRequest>) -> Result<Response<types::Logger>, Status> {
        let level = match LogLevel::try_from(request.into_inner().new_level) {
            Ok(LogLevel::Unspecified) => {
                return Err(Status::invalid_argument("newLevel value cannot be LogLevel_UNSPECIFIED"));
            }
            Ok(level) => level,
            Err(_unknown) => return Err(Status::invalid_argument("unsupported log level")),
        };
        tracing::info!(new_log_level = level.as_str_name().to_ascii_lowercase(), "SetLogLevel Called");
        self.0.set_level(level);
        Ok(self.answer())
    }

    async fn reset_log_level(
        &self,
        _request: Request<ResetLogLevelRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        let level = self.0.launch_level();
        tracing::info!(launch_log_level = level.as_str_name().to_ascii_lowercase(), "ResetLogLevel Called");
        self.0.set_level(level);
        Ok(self.answer())
    }
}
