//! What the server knows of a TPM when it begins to judge.

use std::sync::Arc;

use crate::EnrolledTpm;

/// A node that attested with a TPM before.
#[derive(Clone, Debug)]
pub struct KnownTpm {
    /// Its record, as one admission wrote it.
    pub enrolled: Arc<EnrolledTpm>,
    /// Whether it may attest.
    pub standing: Standing,
}

/// Whether a known node may attest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Enrolled,
    /// An operator banned it.
    Banned {
        /// Who, when or why, as far as known.
        reason: String,
    },
    /// Its evidence contradicted itself (`TpmStateRegressed`); an operator has to look at it.
    Quarantined {
        /// What was seen.
        reason: String,
    },
}
