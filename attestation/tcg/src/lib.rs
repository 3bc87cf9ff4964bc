//! TPM 2.0 structures read from bytes.
