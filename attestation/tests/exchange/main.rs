//! Both halves of the exchange, in memory, without a TPM and without sleeping: what is admitted, and what is refused by which check.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod binding;
mod deny;
mod endorsement;
mod enrol;
mod event_log;
mod every_check;
mod golden;
mod ima;
mod path;
mod pool;
mod renew;
mod resident;
mod revocation;
mod wire;
mod world;
