//! Bundle endpoints over real TLS on the loopback: ours, asked by a raw client; and hostile ones, asked by ours.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod answers;
mod authentication;
mod client;
mod endpoint;
mod fake;
mod files;
mod pki;
mod redirects;
mod server;
