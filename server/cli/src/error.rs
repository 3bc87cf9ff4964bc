//! Failures of a command, and the exit code of each.

use std::io;
use std::path::PathBuf;

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments contradict each other, or one is missing.
    #[error("{0}")]
    Usage(&'static str),
    /// An argument or a field of a file that means nothing.
    #[error("{0}")]
    Value(String),
    /// An argument that is not a SPIFFE ID.
    #[error("error parsing {what} {text:?}: {source}")]
    SpiffeId {
        /// Which argument.
        what: &'static str,
        /// What was given.
        text: String,
        /// Why it is none.
        #[source]
        source: plastron_spiffe::SpiffeIdError,
    },
    /// A selector without a colon.
    #[error("selector {text:?} must be formatted as type:value")]
    Selector {
        /// What was given.
        text: String,
    },
    /// A date in another form than the flag wants.
    #[error("date is not valid: {text:?} is not of the form \"2006-01-02 15:04:05 -0700 -07\"")]
    Date {
        /// What was given.
        text: String,
    },
    /// `-instance` without a template to put it in.
    #[error("you must define SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE, with %i in it, to use the instance flag")]
    Instance,
    /// Nothing listens on the socket, or it may not be opened.
    #[error("can't reach the server at {path:?}: {reason}; is it running, and does -socketPath name its socket_path?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{}", status_text(.0))]
    Rpc(#[source] Status),
    /// The server answered with an error to a step that SPIRE names.
    #[error("{doing}: {}", status_text(status))]
    Call {
        /// The step.
        doing: String,
        /// What the server said.
        #[source]
        status: Box<Status>,
    },
    /// A file or standard input can't be read.
    #[error("can't read {path}")]
    Read {
        /// The file, or `-`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or standard input holds no such JSON.
    #[error("{path} is not the JSON that is expected here")]
    Json {
        /// The file, or `-`.
        path: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A file or standard input holds no bundle.
    #[error("unable to parse bundle data of {path}")]
    Bundle {
        /// The file, or `-`.
        path: String,
        /// Why it is none.
        #[source]
        source: plastron_spiffe::BundleError,
    },
    /// The output can't be written.
    #[error("can't write the output")]
    Write(#[source] io::Error),
    /// A file can't be written.
    #[error("can't write {path:?}")]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No key was made, or it did not sign.
    #[error("the cryptographic library failed to make a key or to sign with it")]
    Crypto,
    /// A name that no request can carry.
    #[error("the CSR can't be made: {reason}")]
    Csr {
        /// What can't be encoded.
        reason: String,
    },
    /// An answer that can't be shown.
    #[error("the server's answer can't be shown")]
    Show(#[from] plastron_proto::json::JsonError),
    /// An answer whose content is not what it should be.
    #[error("the server's answer is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The one item of a batch failed.
    #[error("{doing}: {}", crate::output::printable(message))]
    Item {
        /// What was to be done.
        doing: String,
        /// How it failed.
        code: Code,
        /// What the server said.
        message: String,
    },
    /// Items of a batch failed; each was reported already.
    #[error("{what}")]
    Items {
        /// What was to be done.
        what: &'static str,
        /// The first failure.
        code: Code,
    },
    /// The server says that it is unhealthy, or says nothing.
    #[error("server is unhealthy: {reason}")]
    Unhealthy {
        /// What it said.
        reason: String,
    },
}

impl CliError {
    /// The failure of the one item of a batch.
    pub(crate) fn item(doing: String, status: Option<plastron_proto::types::Status>) -> Self {
        match status {
            Some(status) => Self::Item { doing, code: Code::from(status.code), message: status.message },
            None => Self::Malformed { reason: "a result has no status".to_owned() },
        }
    }

    /// 2 usage, 3 not found, 4 denied, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Value(_)
            | Self::SpiffeId { .. }
            | Self::Selector { .. }
            | Self::Date { .. }
            | Self::Instance => 2,
            Self::Rpc(status) => code_exit(status.code()),
            Self::Call { status, .. } => code_exit(status.code()),
            Self::NotFound(_) => 3,
            Self::Item { code, .. } | Self::Items { code, .. } => code_exit(*code),
            Self::Connect { .. }
            | Self::Read { .. }
            | Self::Json { .. }
            | Self::Bundle { .. }
            | Self::Write(_)
            | Self::WriteFile { .. }
            | Self::Crypto
            | Self::Csr { .. }
            | Self::Show(_)
            | Self::Malformed { .. }
            | Self::Unhealthy { .. } => 1,
        }
    }
}

fn code_exit(code: Code) -> u8 {
    match code {
        Code::NotFound => 3,
        Code::PermissionDenied | Code::Unauthenticated => 4,
        _ => 1,
    }
}

/// gRPC's text of a status, as Go's library prints it.
pub(crate) fn status_text(status: &Status) -> String {
    let code = crate::output::code_name(status.code());
    format!("rpc error: code = {code} desc = {}", crate::output::printable(status.message()))
}

/// Says before a status what was tried, where SPIRE says it.
pub(crate) fn failed(doing: impl Into<String>) -> impl FnOnce(Status) -> CliError {
    let doing = doing.into();
    move |status| CliError::Call { doing, status: Box::new(status) }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Rpc(status)
    }
}
