//! The word that an attestation ends with (RFC 9334's appraisal results, in the words that operators read).
//!
//! Which fault has which word is decided in `plastron_attestation`, in one file. Not here: what a node waits for (`pending` is a
//! person's decision that is missing, and no result of an appraisal).

use std::fmt;

/// What is known of a node after its evidence was looked at. The four are never mixed: what could not be judged is not bad, and what
/// does not parse is not merely unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every check held.
    Trusted,
    /// The evidence is bad, or does not parse.
    Untrusted,
    /// There is nothing to judge, or it is too old: nothing is known, bad or good, and nothing is issued.
    Indeterminate,
    /// Who judges failed, and not the node.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
            Self::Indeterminate => "indeterminate",
            Self::Error => "error",
        })
    }
}
