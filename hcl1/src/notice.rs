//! What a reader should be told about a file that is nevertheless readable.

use std::fmt;

use crate::{Place, Position};

/// Something worth telling, with its place. The caller decides whether it is a warning or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where, and which key.
    pub place: Place,
    /// What.
    pub kind: NoticeKind,
}

/// The kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// No field takes this key.
    UnknownKey,
    /// The key was set before; the last value counts.
    Duplicate {
        /// Where it was set first.
        first: Position,
    },
    /// The key is known, and what it tunes is not there.
    WithoutEffect,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, position, .. } = &self.place;
        let key = self.place.key();
        match self.kind {
            NoticeKind::UnknownKey => write!(f, "{file}:{position}: unknown key {key}"),
            NoticeKind::Duplicate { first } => {
                write!(f, "{file}:{position}: {key} was set at {first} already; the last value counts")
            }
            NoticeKind::WithoutEffect => write!(f, "{file}:{position}: {key} has no effect"),
        }
    }
}
