//! A TPM in memory, for tests and load.
