//! The API in a process of its own tests: real services, real SQLite, keys in memory, both listeners.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod bad_input;
mod bundle;
mod federation;
mod flood;
mod harness;
mod hostile;
mod jwt;
mod local;
mod localauthority;
mod mint;
mod nesting;
mod proxied;
mod strangers;
mod thread;
mod trustdomain;
mod watch;
