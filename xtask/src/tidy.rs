//! House rules that no compiler knows. Every fault is named; none is repaired.
//!
//! `docs/ARCHITECTURE.md` says what the rules are for. Text is judged by lines: this is no parser of Rust.

mod documents;
mod layers;
mod metadata;
mod sources;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A broken rule, for people.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The file or package.
    subject: String,
    /// The rule and what breaks it.
    rule: String,
}

impl Fault {
    fn new(subject: impl fmt::Display, rule: impl fmt::Display) -> Self {
        Self { subject: subject.to_string(), rule: rule.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.rule)
    }
}

/// Why the rules can't be checked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TidyError {
    /// A file or folder can't be read.
    #[error("can't read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Cargo does not say what is in the workspace.
    #[error("cargo metadata failed: {stderr}")]
    Cargo {
        /// What it said.
        stderr: String,
    },
    /// Cargo says it in another form than expected.
    #[error("cargo metadata is not what it was")]
    Metadata(#[from] serde_json::Error),
}

/// Checks everything below `root`, and gives every fault in order.
pub(crate) fn check(root: &Path) -> Result<Vec<Fault>, TidyError> {
    let packages = metadata::packages(root)?;
    let files = sources::read(root)?;
    let mut faults = layers::faults(&packages);
    faults.extend(sources::faults(&files));
    faults.extend(documents::faults(&files));
    faults.sort();
    Ok(faults)
}

/// Path and text of every text file below `root`.
pub(crate) fn read_sources(root: &Path) -> Result<Vec<(String, String)>, TidyError> {
    Ok(sources::read(root)?.into_iter().map(|file| (file.path, file.text)).collect())
}

#[cfg(test)]
mod tests;
