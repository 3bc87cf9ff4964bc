//! The error that passes through serde until its place is known.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Expected, Unexpected};

use super::Path;
use crate::{ConfigError, Notice, Place, Position};

/// What is wrong, and where once the innermost reader has said so.
#[derive(Debug)]
pub(super) struct Fault {
    problem: String,
    at: Option<(Position, String)>,
}

impl Fault {
    pub(super) fn new(problem: String) -> Self {
        Self { problem, at: None }
    }

    /// Adds the place, unless one further in has done so.
    pub(super) fn at(mut self, position: Position, path: &Path<'_>) -> Self {
        self.at.get_or_insert_with(|| (position, path.joined()));
        self
    }

    pub(super) fn into_error(self, file: &Arc<str>, notices: Vec<Notice>) -> ConfigError {
        let (position, path) = self.at.unwrap_or((Position { line: 1, column: 1 }, String::new()));
        ConfigError::Value { place: Place { file: Arc::clone(file), position, path }, problem: self.problem, notices }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Other(kind) => Self::new(format!("expected {expected}, got {kind}")),
            found => Self::new(format!("expected {expected}, got {found}")),
        }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, got {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("{variant:?} is none of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("{field} is missing"))
    }
}
