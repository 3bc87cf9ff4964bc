//! The `join_token` node attestor, both halves (SPIRE: `doc/plugin_agent_nodeattestor_jointoken.md`).
//!
//! The payload is the token, nothing else; there is no challenge. Whether a token is good, only the transaction that spends it tells:
//! this crate checks its form, and hands it on as a `PresentedToken`. What it deliberately does not do: it reads no store, and it
//! proves nothing about the machine. A node admitted by a token can't attest again.

mod agent;
mod server;
mod token;

pub use agent::{JoinTokenAttestor, TokenSource};
pub use server::JoinTokenNodeAttestor;
pub use token::{MAX_TOKEN_LEN, TokenFormError};

/// The attestation type.
pub const NAME: &str = "join_token";
