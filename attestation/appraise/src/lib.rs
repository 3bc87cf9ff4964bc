//! Appraisal of TPM evidence: one file per check, pure.

mod check;

pub use check::{Check, CheckOutcome, CheckRecord};

/// A node whose TPM evidence passed every check.
#[derive(Debug)]
pub struct AttestedNode {
    _private: (),
}
