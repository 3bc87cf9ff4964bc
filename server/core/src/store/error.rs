//! What can go wrong with a store, whichever database is behind it.

/// A store operation that failed, for a reason that lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It can't be opened.
    #[error("can't open the store {store}: {reason}; {remedy}")]
    Open {
        /// File or address.
        store: String,
        /// What failed.
        reason: String,
        /// What to do next.
        remedy: String,
    },
    /// A newer version of the server wrote it.
    #[error(
        "the store {store} has schema version {found}, and this program knows up to {known}; \
         run the version that wrote it or a newer one"
    )]
    NewerSchema {
        /// File or address.
        store: String,
        /// The version in the store.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// What is stored does not read as what was written.
    #[error("the store {store} is damaged: {reason}; {remedy}")]
    Corrupt {
        /// File or address.
        store: String,
        /// Which table and row, and what is wrong there.
        reason: String,
        /// What to do next.
        remedy: String,
    },
    /// The change log was pruned past the revision that someone wants to follow it from: everything has to be read again.
    #[error("the change log of {store} begins at {oldest}, so it can't be followed from {after}")]
    LogTruncated {
        /// File or address.
        store: String,
        /// The revision wanted.
        after: u64,
        /// Sequence number of the oldest change that is left, or would come next.
        oldest: u64,
    },
    /// A statement failed.
    #[error("the store could not {purpose}: {reason}; {remedy}")]
    Statement {
        /// What the statement was for, as a verb phrase.
        purpose: &'static str,
        /// The database's answer.
        reason: String,
        /// What to do next.
        remedy: &'static str,
    },
    /// The task that wrote ended without a result.
    #[error("the store task that should {purpose} was interrupted: {reason}")]
    Interrupted {
        /// What it was for.
        purpose: &'static str,
        /// Why it ended.
        reason: String,
    },
}
