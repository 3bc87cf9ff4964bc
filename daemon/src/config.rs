//! A configuration file, from its path to a type, and what becomes of the keys that nobody knows.
//!
//! Unknown keys are refused, all of them at once, each with file, line and column. A program names the blocks in which SPIRE
//! lets unknown keys pass, so that files which SPIRE runs are not refused; there they are warnings, and errors when strict.

mod empty;
mod missing;
mod telemetry;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plastron_hcl1::{ConfigError, MAX_FILE_BYTES, Notice, NoticeKind, Subtree, expand_env, parse};
use serde::de::DeserializeOwned;

pub use empty::{MaybeEmpty, unset_empty};
pub use missing::{Absence, refuse_first};
pub use telemetry::{RawInMem, RawM3, RawPrometheus, RawPrometheusTls, RawStatsd, RawTelemetry};

/// How to read a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file; relative paths are relative to the working directory.
    pub path: &'a Path,
    /// `-expandEnv`: variables are replaced in the raw text.
    pub expand_env: bool,
    /// What to do with notices.
    pub strictness: Strictness<'a>,
}

/// What to do with unknown keys and repeated values.
#[derive(Clone, Copy, Debug)]
pub enum Strictness<'a> {
    /// As SPIRE: unknown keys are refused, except in some blocks; repeated values are warnings. The innermost block that either list
    /// names decides.
    Usual {
        /// Paths of blocks (`server.federation`) right in or below which unknown keys are only warned of.
        tolerant: &'a [&'a str],
        /// Blocks below those, right in or below which unknown keys are refused after all.
        strict: &'a [&'a str],
    },
    /// `-strict`: every notice is an error.
    Strict,
}

/// A configuration, and what its reader should be told.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// To be logged once logging has started.
    pub warnings: Vec<Notice>,
}

/// Why a configuration file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("can't read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{}: not UTF-8 text", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// The text is no configuration, or a value is not what its key wants.
    #[error("{error}{}", Following(.notices))]
    Config {
        /// What is wrong.
        error: ConfigError,
        /// What was noticed before.
        notices: Vec<Notice>,
    },
    /// Keys that nobody knows, or, when strict, values that are set twice.
    #[error("{}", joined(.notices))]
    Refused {
        /// All of them.
        notices: Vec<Notice>,
    },
    /// Several parts of the file, each with its own problem.
    #[error("{}", .problems.iter().map(|problem| explain(problem)).collect::<Vec<_>>().join("\n"))]
    Several {
        /// In the order of the file.
        problems: Vec<LoadError>,
    },
}

impl LoadError {
    /// What is wrong with the parts of a file, if something is.
    pub fn of_parts(mut problems: Vec<Self>) -> Result<(), Self> {
        match (problems.pop(), problems.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                problems.push(last);
                Err(Self::Several { problems })
            }
        }
    }
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Value { place, problem, notices } => {
                Self::Config { error: ConfigError::Value { place, problem, notices: Vec::new() }, notices }
            }
            error => Self::Config { error, notices: Vec::new() },
        }
    }
}

/// Notices, one a line.
fn joined(notices: &[Notice]) -> String {
    notices.iter().map(Notice::to_string).collect::<Vec<_>>().join("\n")
}

/// Notices, each on a new line after something else.
struct Following<'a>(&'a [Notice]);

impl fmt::Display for Following<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|notice| write!(f, "\n{notice}"))
    }
}

impl Strictness<'_> {
    /// Divides notices into warnings, which it gives, and errors, with which it fails.
    pub fn judge(&self, notices: Vec<Notice>) -> Result<Vec<Notice>, LoadError> {
        let (refused, warnings): (Vec<_>, Vec<_>) = notices.into_iter().partition(|notice| self.refuses(notice));
        if refused.is_empty() { Ok(warnings) } else { Err(LoadError::Refused { notices: refused }) }
    }

    fn refuses(&self, notice: &Notice) -> bool {
        let Self::Usual { tolerant, strict } = self else { return true };
        match notice.kind {
            NoticeKind::Duplicate { .. } | NoticeKind::WithoutEffect => false,
            NoticeKind::UnknownKey => {
                let path = notice.place.path.as_str();
                let holds = |block: &&&str| path.strip_prefix(**block).is_some_and(|rest| rest.starts_with('.'));
                let innermost = |blocks: &[&str]| blocks.iter().filter(holds).map(|block| block.len()).max();
                innermost(strict) >= innermost(tolerant)
            }
        }
    }
}

/// Reads a configuration file as `T`.
pub fn load<T: DeserializeOwned>(source: &Source<'_>) -> Result<Loaded<T>, LoadError> {
    let text = read_text(source.path)?;
    let name = source.path.display().to_string();
    from_text(&text, &name, source)
}

fn from_text<T: DeserializeOwned>(text: &str, name: &str, source: &Source<'_>) -> Result<Loaded<T>, LoadError> {
    let expanded;
    let text = if source.expand_env {
        expanded = expand_env(text, name, |variable| std::env::var(variable).ok())?;
        &expanded
    } else {
        text
    };
    let (config, notices) = plastron_hcl1::from_str(text, name)?;
    Ok(Loaded { config, warnings: source.strictness.judge(notices)? })
}

/// Reads a part of a configuration that stands in a file of its own: `plugin_data_file`.
pub fn load_subtree(path: &Path) -> Result<Subtree, LoadError> {
    let text = read_text(path)?;
    let name = path.display().to_string();
    Ok(Subtree::of_file(parse(&text, &name)?, &name))
}

/// Reads at most what the language takes: the path may lead to a device that never ends.
fn read_text(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        let file = path.display().to_string();
        return Err(ConfigError::TooLarge { file, limit: MAX_FILE_BYTES }.into());
    }
    String::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 { path: path.to_owned() })
}

/// The whole chain of an error on one line, for people.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
