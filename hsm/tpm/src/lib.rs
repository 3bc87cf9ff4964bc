//! The TPM device, by tss-esapi.
