//! What can go wrong on the command line, with the exit codes of the operators' contract. `Display` says the step; whoever prints an
//! error prints its sources as well.

use std::path::PathBuf;
use std::time::Duration;

use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::event_log::LogError;
use plastron_proto::json::JsonError;
use tonic::{Code, Status};

use crate::duration::GoDuration;
use crate::endpoint::{AddressError, Endpoint};
use crate::svid::ResponseError;

/// Anything without a code of its own.
pub const EXIT_FAILURE: u8 = 1;
/// The command line makes no sense.
pub const EXIT_USAGE: u8 = 2;
/// What was asked for does not exist.
pub const EXIT_NOT_FOUND: u8 = 3;
/// The caller may not have it.
pub const EXIT_DENIED: u8 = 4;
/// What arrived does not verify.
pub const EXIT_UNTRUSTED: u8 = 5;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Flags or environment.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Another use of flags that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody listens.
    #[error(
        "can't connect to the agent at {endpoint}: {reason}; is it running? -socketPath or SPIFFE_ENDPOINT_SOCKET say where"
    )]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// What the system said.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer from the agent within {}; -timeout gives it longer", GoDuration(*after))]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The agent refused. The words are the agent's.
    #[error("{}{}", .0.text(), .0.advice())]
    Refused(Box<Refused>),
    /// The agent can't say whether the token is valid.
    #[error("unable to validate JWT SVID: {}", .0.text())]
    Validation(Box<Refused>),
    /// A verb on the admin socket; SPIRE's begin so.
    #[error("Error: {}{}", doing.map(|doing| format!("{doing}: ")).unwrap_or_default(), cause.without_advice())]
    Admin {
        /// What was tried.
        doing: Option<&'static str>,
        /// What went wrong.
        cause: Box<CliError>,
    },
    /// The agent has a log level that there is not.
    #[error("Error: the agent's log level is undefined")]
    UndefinedLevel,
    /// The stream ended without a message.
    #[error("the agent closed the stream without an answer")]
    NoAnswer,
    /// The agent does not take the token.
    #[error("SVID is not valid: {}", printable(.reason))]
    InvalidSvid {
        /// The agent's words.
        reason: String,
    },
    /// The answer is unusable.
    #[error("the agent's answer is refused")]
    Response(#[from] ResponseError),
    /// The agent says it is not well.
    #[error("Agent is unhealthy: agent returned status {0:?}")]
    Unhealthy(&'static str),
    /// It can't be asked whether it is.
    #[error("Agent is unhealthy: unable to determine health")]
    UnknownHealth(#[source] Box<CliError>),
    /// A file that can't be written.
    #[error("can't write {}", path.display().to_string().escape_debug())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Standard output is closed.
    #[error("can't print")]
    Print(#[from] std::io::Error),
    /// A message that has no JSON form.
    #[error("can't print the answer as JSON")]
    Json(#[from] JsonError),
    /// The system has no randomness.
    #[error("can't get random bytes")]
    Random(#[source] std::io::Error),
    /// This build has no TPM back end.
    #[error("this build of the agent has no TPM support; use one that was built with the feature \"tpm\"")]
    NoTpm,
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmDeviceError),
    /// There is no log of this boot.
    #[error(
        "no event log in {}: firmware wrote none, or the kernel was not given it; GRUB 2.06 does not hand it on where Secure Boot is \
         off: use GRUB 2.12 or a unified kernel image, or enable Secure Boot",
        file.display().to_string().escape_debug()
    )]
    NoEventLog {
        /// Where it was looked for.
        file: PathBuf,
    },
    /// A log that can't be read.
    #[error("can't read the event log {}; the kernel shows its own to root only", file.display().to_string().escape_debug())]
    ReadEventLog {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A log that is none.
    #[error("the event log {} is malformed", file.display().to_string().escape_debug())]
    EventLog {
        /// Which.
        file: PathBuf,
        /// Where, and what is wrong.
        source: LogError,
    },
    /// Facts that have no JSON form.
    #[error("can't print the facts as JSON")]
    Facts(#[source] serde_json::Error),
    /// The TPM answered with something that does not parse.
    #[error("the TPM's {what} is malformed: {reason}")]
    TpmAnswer {
        /// Which answer.
        what: &'static str,
        /// What does not parse.
        reason: String,
    },
}

/// What the agent wrote, for a terminal: only what drives one is escaped, so that the words stay those that scripts look for.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Quotes and backslashes drive nothing; every other character that `escape_debug` touches may.
        if matches!(c, '"' | '\'' | '\\') { out.push(c) } else { out.extend(c.escape_debug()) }
    }
    out
}

/// A gRPC status that is not OK.
#[derive(Debug)]
pub struct Refused(Status);

impl Refused {
    /// As Go's gRPC prints a status, and so SPIRE's program.
    fn text(&self) -> String {
        let code = match self.0.code() {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        format!("rpc error: code = {code} desc = {}", printable(self.0.message()))
    }

    fn advice(&self) -> &'static str {
        match self.0.code() {
            Code::PermissionDenied => {
                "\nNo registration entry matches this process; 'plastron-server entry show' lists them"
            }
            Code::Unavailable => "\nTry again; the agent's log says why",
            _ => "",
        }
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(Refused(status)))
    }
}

impl CliError {
    /// The status of a validation that came to no end.
    pub(crate) fn validation(status: Status) -> Self {
        Self::Validation(Box::new(Refused(status)))
    }

    /// The text for where advice about workloads is out of place.
    fn without_advice(&self) -> String {
        match self {
            Self::Refused(refused) => refused.text(),
            other => other.to_string(),
        }
    }

    /// Whether trying again later may help one who watches: the agent was away, or had nothing to give.
    pub(crate) fn may_heal(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::NoAnswer => true,
            Self::Refused(refused) => {
                !matches!(refused.0.code(), Code::InvalidArgument | Code::Cancelled | Code::Unimplemented)
            }
            _ => false,
        }
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::Usage(_) => EXIT_USAGE,
            Self::Admin { cause, .. } => cause.exit_code(),
            Self::Refused(refused) | Self::Validation(refused) => match refused.0.code() {
                Code::NotFound => EXIT_NOT_FOUND,
                Code::PermissionDenied | Code::Unauthenticated => EXIT_DENIED,
                _ => EXIT_FAILURE,
            },
            Self::NoEventLog { .. } => EXIT_NOT_FOUND,
            Self::Response(_) | Self::InvalidSvid { .. } | Self::EventLog { .. } => EXIT_UNTRUSTED,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::NoAnswer
            | Self::UndefinedLevel
            | Self::Unhealthy(_)
            | Self::UnknownHealth(_)
            | Self::Random(_)
            | Self::Write { .. }
            | Self::Print(_)
            | Self::Json(_)
            | Self::ReadEventLog { .. }
            | Self::Facts(_)
            | Self::NoTpm
            | Self::Tpm(_)
            | Self::TpmAnswer { .. } => EXIT_FAILURE,
        }
    }
}
