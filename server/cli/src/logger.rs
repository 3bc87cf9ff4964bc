//! `logger get|set|reset`: the log level of a running server.

use plastron_proto::spire::api::server::logger::v1::logger_client::LoggerClient;
use plastron_proto::spire::api::server::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::types::{LogLevel, Logger};
use tonic::transport::Channel;

use crate::error::failed;
use crate::{CliError, ConnectionArgs, Format, Io, OutputArgs};

/// Verbs of `logger`.
#[derive(Debug, clap::Subcommand)]
pub enum LoggerCommand {
    /// Gets the logger details
    Get(LoggerArgs),
    /// Sets the logger details
    Set(SetArgs),
    /// Reset the logger details to launch level
    Reset(LoggerArgs),
}

/// Flags of all verbs.
#[derive(Debug, clap::Args)]
pub struct LoggerArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `logger set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    #[command(flatten)]
    common: LoggerArgs,
    /// The new log level, one of (panic, fatal, error, warn, info, debug, trace)
    #[arg(long, default_value = "")]
    level: String,
}

impl LoggerCommand {
    pub(crate) async fn run(self, io: &mut Io<'_>) -> Result<(), CliError> {
        let (output, logger) = match self {
            Self::Get(args) => {
                let answer = args.client(io).await?.get_logger(GetLoggerRequest {}).await;
                (args.output, answer.map_err(failed("error fetching logger"))?)
            }
            Self::Set(SetArgs { common, level }) => {
                let request = SetLogLevelRequest { new_level: parse(&level)?.into() };
                let answer = common.client(io).await?.set_log_level(request).await;
                (common.output, answer.map_err(failed("failed to set log level"))?)
            }
            Self::Reset(args) => {
                let answer = args.client(io).await?.reset_log_level(ResetLogLevelRequest {}).await;
                (args.output, answer.map_err(failed("failed to reset logger"))?)
            }
        };
        match output.output {
            Format::Json => io.json(logger.get_ref()),
            Format::Pretty => io.out(&render(logger.get_ref())?),
        }
    }
}

impl LoggerArgs {
    async fn client(&self, io: &Io<'_>) -> Result<LoggerClient<Channel>, CliError> {
        Ok(LoggerClient::new(self.connection.connect(&io.environment).await?))
    }
}

/// The names that SPIRE's logger takes, in any case.
fn parse(text: &str) -> Result<LogLevel, CliError> {
    match text.to_lowercase().as_str() {
        "" => Err(CliError::Usage("a value (-level) must be set")),
        "panic" => Ok(LogLevel::Panic),
        "fatal" => Ok(LogLevel::Fatal),
        "error" => Ok(LogLevel::Error),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err(CliError::Value(format!("the value {text:?} is not a valid setting"))),
    }
}

fn render(logger: &Logger) -> Result<String, CliError> {
    let current = name(logger.current_level(), "current")?;
    let launch = name(logger.launch_level(), "launch")?;
    Ok(format!("Logger Level : {current}\nLaunch Level : {launch}\n\n"))
}

fn name(level: LogLevel, which: &str) -> Result<&'static str, CliError> {
    match level {
        LogLevel::Unspecified => Err(CliError::Malformed { reason: format!("the {which} log level is undefined") }),
        LogLevel::Panic => Ok("panic"),
        LogLevel::Fatal => Ok("fatal"),
        LogLevel::Error => Ok("error"),
        LogLevel::Warn => Ok("warning"),
        LogLevel::Info => Ok("info"),
        LogLevel::Debug => Ok("debug"),
        LogLevel::Trace => Ok("trace"),
    }
}
