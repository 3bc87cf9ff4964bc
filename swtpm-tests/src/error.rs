//! Why a component could not be started or disturbed.

use std::io;

/// A test component that did not do what the test needs. Tests unwrap it.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A tool is not on this machine.
    #[error("{tool} is not installed; install the package {package} (./dev does it)")]
    MissingTool {
        /// The program.
        tool: String,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// One of our programs was not built.
    #[error("{path} does not exist; run `cargo build --workspace` first (./dev test does it)")]
    MissingProgram {
        /// Where it was looked for.
        path: String,
    },
    /// The fault proxy was not built.
    #[error("{path} does not exist; run `{command}` first (./dev test does it)")]
    MissingProxy {
        /// Where it was looked for.
        path: String,
        /// What builds it.
        command: &'static str,
    },
    /// The operating system refused.
    #[error("can't {what}")]
    Io {
        /// What was tried, on which input.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A tool ended with an error.
    #[error("{command} ended with {status}:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// Standard output and standard error.
        output: String,
    },
    /// Something that had to happen did not happen in time.
    #[error("{what} did not happen within {seconds} s; the log so far:\n{log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The process's output so far.
        log: String,
    },
    /// A file that a tool wrote is not what it should be.
    #[error("{path} is not {expected}")]
    Malformed {
        /// The file.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The part of a test that runs in a process of its own failed there.
    #[error("{test} failed in its own process:\n{output}")]
    OwnProcess {
        /// The test's path.
        test: String,
        /// What it printed.
        output: String,
    },
}

impl HarnessError {
    /// For `map_err`: names what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
