//! The services on a real store and with real keys: SQLite in a temporary directory, keys in memory, a clock that tests turn.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod admission;
mod audit;
mod authorities;
mod authorization;
mod ca;
mod faults;
mod fixture;
mod health;
mod issuance;
mod jwt;
mod local_authority;
mod minting;
mod nesting;
mod no_audit;
mod orphans;
mod pending;
mod registration;
mod retirement;
mod servers;
mod succession;
mod tpm;
mod upstream;
mod upstream_server;
mod verdicts;
mod watch;
