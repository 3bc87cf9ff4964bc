//! Why nothing was measured.

use std::io;

use plastron_swtpm_tests::HarnessError;

/// Any of these ends the run: a measurement with an error in it says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A program or a tool could not be started, or did not become ready.
    #[error("a program of the benchmark failed")]
    Harness(#[from] HarnessError),
    /// The operating system refused.
    #[error("can't {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A server answered with an error.
    #[error("{what} failed")]
    Call {
        /// Which call.
        what: &'static str,
        /// The answer.
        source: Box<tonic::Status>,
    },
    /// No connection.
    #[error("can't connect to the server")]
    Connect(#[from] plastron_transport::ConnectError),
    /// Something that has to hold did not.
    #[error("{what}")]
    Wrong {
        /// What was seen.
        what: String,
    },
}

impl BenchError {
    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`.
    pub(crate) fn call(what: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |source| Self::Call { what, source: Box::new(source) }
    }

    /// For whatever else is not as it has to be.
    pub(crate) fn wrong(what: impl ToString) -> Self {
        Self::Wrong { what: what.to_string() }
    }
}
