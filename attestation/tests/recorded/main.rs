//! Conversations that real TPMs (swtpm) had with the verifier, replayed at the time at which they took place, and tampered with.
//!
//! `attestation/tests/evidence` holds them; `cargo xtask record-evidence` records them anew.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod evidence;
mod index;
mod replay;
mod server;
mod stages;
mod tampered;
