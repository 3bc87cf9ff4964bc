//! Appraisal of TPM evidence: one file per check, pure.

mod attested;
mod check;
mod enrolled;
mod fingerprint;

pub use attested::AttestedNode;
pub use check::{Check, CheckOutcome, CheckRecord, Checklist};
pub use enrolled::{Claims, ENROLLED_TPM_VERSION, EnrolledTpm, MAX_CLAIM_LEN, TpmState};
pub use fingerprint::{EkFingerprint, FingerprintError};
