//! The tpm node attestor.
