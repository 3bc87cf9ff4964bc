//! What is wrong with a list, where.

use std::fmt;

use crate::{ReadError, ReadFault};

/// A list that is not one: at which offset, in which entry, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaListError {
    /// Where in the file.
    pub offset: usize,
    /// The entry, from 0; `None` where it is the list as a whole.
    pub entry: Option<u32>,
    /// What is wrong.
    pub reason: ImaListFault,
}

/// What can be wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImaListFault {
    /// There is no entry: no list, which is no malformed one.
    #[error("there is no IMA list: no bytes")]
    Empty,
    /// Its form is wrong.
    #[error("{0}")]
    Read(ReadFault),
}

impl fmt::Display for ImaListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "IMA list, entry {entry} at offset {}: {}", self.offset, self.reason),
            None => write!(f, "IMA list at offset {}: {}", self.offset, self.reason),
        }
    }
}

impl std::error::Error for ImaListError {}

pub(super) fn at(entry: Option<u32>, error: ReadError) -> ImaListError {
    ImaListError { offset: error.offset, entry, reason: ImaListFault::Read(error.reason) }
}
