//! Why a text is no configuration.

use crate::{Notice, Place, Position};

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is larger than [`crate::MAX_FILE_BYTES`].
    #[error("{file}: larger than {limit} bytes: split it, or move lists into files of their own")]
    TooLarge {
        /// The file's name.
        file: String,
        /// The limit.
        limit: usize,
    },
    /// The text breaks the language's rules.
    #[error("{file}:{position}: {problem}")]
    Syntax {
        /// The file's name.
        file: String,
        /// Where.
        position: Position,
        /// Which rule.
        problem: SyntaxError,
    },
    /// The language is right, but a value is not what its key wants.
    #[error("{place}: {problem}")]
    Value {
        /// Where, and which key.
        place: Place,
        /// What is wrong with it.
        problem: String,
        /// What was noticed before, above all unknown keys: a misspelt key is often why another one is missing.
        notices: Vec<Notice>,
    },
}

/// A rule of the language that the text breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Nothing in the language begins like this.
    #[error("unexpected character {found:?}")]
    Character {
        /// The character.
        found: char,
    },
    /// The parser wanted something else here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What would be right.
        expected: &'static str,
        /// What kind of thing stands there; not its text, which may be a secret that lost its quotes.
        found: String,
    },
    /// Labels belong to blocks: `a "b" { … }`.
    #[error("a key with labels needs a block, not '='")]
    LabelledAssignment,
    /// A string ends with its line, except within `${…}`.
    #[error("string without a closing quote on its line")]
    UnterminatedString,
    /// A `/*` without `*/`.
    #[error("comment without \"*/\"")]
    UnterminatedComment,
    /// A heredoc without its end marker on a line of its own.
    #[error("heredoc without its end marker {marker:?} on a line of its own")]
    UnterminatedHeredoc {
        /// The end marker.
        marker: String,
    },
    /// `<<` must be followed by a marker and the end of the line.
    #[error("heredoc must begin with \"<<MARKER\" or \"<<-MARKER\" and the end of the line")]
    HeredocMarker,
    /// A backslash sequence that does not exist.
    #[error("unknown escape sequence \"\\{found}\"")]
    Escape {
        /// What follows the backslash, escaped.
        found: String,
    },
    /// An escape names a number that is no character, or bytes that are not UTF-8.
    #[error("escape sequences that are not UTF-8 text")]
    NotUtf8,
    /// A number with a wrong digit or without digits.
    #[error("a number with a wrong digit or without digits")]
    Number,
    /// More than [`crate::MAX_NESTING`] levels.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}
