//! The store on real files: opening, the change log, admissions, crashes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod admit;
mod authorities;
mod crash;
mod federation;
mod fixture;
mod log;
mod open;
mod pending;
