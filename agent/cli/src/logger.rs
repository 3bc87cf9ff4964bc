//! `logger get|set|reset`: the log level of a running agent.

use clap::{Args, Subcommand};
use plastron_proto::json::to_json;
use plastron_proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use plastron_proto::spire::api::agent::logger::v1::{GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest};
use plastron_proto::types::{LogLevel, Logger as Levels};

use crate::Context;
use crate::admin::AdminFlags;
use crate::error::CliError;
use crate::print::Output;

/// The verbs of `logger`.
#[derive(Debug, Subcommand)]
pub enum Logger {
    /// Gets the logger details
    Get(Plain),
    /// Sets the logger details
    Set(Set),
    /// Reset the logger details to launch level
    Reset(Plain),
}

/// Flags of `logger get` and `logger reset`.
#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    flags: AdminFlags,
}

/// Flags of `logger set`.
#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    flags: AdminFlags,
    /// The new log level, one of (panic, fatal, error, warn, info, debug, trace)
    #[arg(long, default_value = "")]
    level: String,
}

pub(crate) async fn run(command: Logger, context: Context<'_>) -> Result<(), CliError> {
    let (output, levels) = match command {
        Logger::Get(Plain { flags }) => {
            let call = |channel| async { LoggerClient::new(channel).get_logger(GetLoggerRequest {}).await };
            (flags.output, flags.call(Some("error fetching logger"), call).await?)
        }
        Logger::Set(Set { flags, level }) => {
            let request = SetLogLevelRequest { new_level: parse(&level)?.into() };
            let call = |channel| async { LoggerClient::new(channel).set_log_level(request).await };
            (flags.output, flags.call(Some("failed to set log level"), call).await?)
        }
        Logger::Reset(Plain { flags }) => {
            let call = |channel| async { LoggerClient::new(channel).reset_log_level(ResetLogLevelRequest {}).await };
            (flags.output, flags.call(Some("failed to reset logger"), call).await?)
        }
    };
    match output {
        Output::Json => writeln!(context.out, "{}", to_json(&levels)?)?,
        Output::Pretty => write!(context.out, "{}", render(&levels)?)?,
    }
    Ok(())
}

/// The names that SPIRE's logger takes, in any case.
fn parse(text: &str) -> Result<LogLevel, CliError> {
    let refuse = |what: String| Err(CliError::Usage(format!("Error: {what}")));
    match text.to_lowercase().as_str() {
        "" => refuse("a value (-level) must be set".to_owned()),
        "panic" => Ok(LogLevel::Panic),
        "fatal" => Ok(LogLevel::Fatal),
        "error" => Ok(LogLevel::Error),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => refuse(format!("the value {text:?} is not a valid setting")),
    }
}

fn render(levels: &Levels) -> Result<String, CliError> {
    let (current, launch) = (name(levels.current_level())?, name(levels.launch_level())?);
    Ok(format!("Logger Level : {current}\nLaunch Level : {launch}\n\n"))
}

fn name(level: LogLevel) -> Result<&'static str, CliError> {
    match level {
        LogLevel::Unspecified => Err(CliError::UndefinedLevel),
        LogLevel::Panic => Ok("panic"),
        LogLevel::Fatal => Ok("fatal"),
        LogLevel::Error => Ok("error"),
        LogLevel::Warn => Ok("warning"),
        LogLevel::Info => Ok("info"),
        LogLevel::Debug => Ok("debug"),
        LogLevel::Trace => Ok("trace"),
    }
}
