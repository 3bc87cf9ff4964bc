//! Every check of an admission, named once. Audit records, metric labels, command line and tests speak `Check`.

/// A check that evidence passes or fails. Exhaustive on purpose: a new one breaks the build of whatever must handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// Bytes parse, within their limits, with nothing left over.
    Malformed,
    /// The join token exists, is unspent and has not expired.
    JoinToken,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds.
    Passed,
    /// It does not; the evidence is refused.
    Failed,
    /// It was not made, and the verdict says so (`revocation: not checked`).
    NotChecked,
}

/// One line of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    /// Which check.
    pub check: Check,
    /// What became of it.
    pub outcome: CheckOutcome,
    /// Both sides of the comparison, in words; escaped where it comes from the node. Empty where there is nothing to add.
    pub detail: String,
}
