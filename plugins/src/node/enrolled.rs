//! How the `tpm` node attestor looks up what the server knows of a TPM. Answered from memory: no database read.

use plastron_attestation_appraise::{EkFingerprint, KnownTpm};
use plastron_attestation_tcg::Name;

/// The TPMs that the server knows. Both look-ups answer for banned and quarantined nodes too.
pub trait EnrolledTpms: Send + Sync {
    /// The node that has this AK, or had it: the index holds `EnrolledTpm::ak_name` and every retired AK name.
    fn by_ak_name(&self, ak_name: &Name) -> Option<KnownTpm>;

    /// The node with this EK.
    fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<KnownTpm>;
}
