//! Why the boot test stopped.

use std::io;

use plastron_swtpm_tests::HarnessError;

/// What could not be done, or what was not proved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootTestError {
    /// A tool, a program of ours or a script failed.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// The operating system refused.
    #[error("can't {what}: {source}")]
    Io {
        /// What was tried, on which input.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} has no {expected}")]
    Malformed {
        /// The file.
        path: String,
        /// What was looked for.
        expected: &'static str,
    },
    /// The guest did not come to its end.
    #[error("the guest did not {what}; the last lines of its console:\n{console}")]
    Guest {
        /// What it had to do.
        what: String,
        /// The end of its console's text.
        console: String,
    },
    /// The programs ran, and did not do what this test says that they do.
    #[error("expected {expected}; {saw}")]
    NotProved {
        /// What had to be seen.
        expected: String,
        /// What was seen.
        saw: String,
    },
}

impl BootTestError {
    /// For `map_err`: names what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
