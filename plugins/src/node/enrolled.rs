//! How the `tpm` node attestor looks up what the server knows of a TPM. Answered from memory: no database read.

use std::sync::Arc;

use plastron_attestation_appraise::{EkFingerprint, EnrolledTpm};
use plastron_attestation_tcg::Name;

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

/// The TPMs that the server knows. Both look-ups answer for banned and quarantined nodes too.
pub trait EnrolledTpms: Send + Sync {
    /// The node that has this AK, or had it: the index holds `EnrolledTpm::ak_name` and every retired AK name.
    fn by_ak_name(&self, ak_name: &Name) -> Option<KnownTpm>;

    /// The node with this EK.
    fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<KnownTpm>;
}
