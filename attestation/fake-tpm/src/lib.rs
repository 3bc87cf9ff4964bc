//! A TPM 2.0 in memory that signs real TPMS_ATTEST bytes, with a manufacturer of its own. For tests and load generation only: keys
//! lie in plain memory, and it does whatever a test tells it to, including what no TPM would.
//!
//! Endorsement keys of every template; attestation keys ECDSA P-256 and P-384 and RSASSA RSA-2048; PCR banks SHA-1, SHA-256,
//! SHA-384 and SHA-512. A [`Fleet`] makes a thousand of them in a second or two. Its credential activation shares no code with the
//! verifier's MakeCredential, so each tests the other. Not here: authorisation, sessions, NV, anything that an attester does not ask for.
#![expect(clippy::expect_used, reason = "a fake for tests may panic when its own keys do not work")]

mod activate;
mod ak;
mod attest;
mod ek;
pub mod event_log;
mod fleet;
pub mod ima_list;
mod manufacturer;
mod rsa;
mod shared;
mod tpm;

pub use ak::AkAlgorithm;
pub use attest::{AttestParts, AttestedParts};
pub use fleet::Fleet;
pub use manufacturer::{EkCertificate, Manufacturer};
pub use shared::SharedFakeTpm;
pub use tpm::{FakeTpm, PCR_COUNT};
