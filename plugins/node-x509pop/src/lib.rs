//! The `x509pop` node attestor, both halves (SPIRE: `doc/plugin_server_nodeattestor_x509pop.md`).
//!
//! A node shows a certificate that someone gave it before, and proves that it has the key: the server sends a nonce, the node adds its
//! own and signs both. Messages, IDs and selectors are SPIRE's, so either half works with SPIRE's other one. What the protocol does not
//! do, and this crate can't add: the proof is not bound to the key of the CSR, so it is the TLS connection to the server alone that
//! keeps a stranger from relaying it. Nothing here says what the machine booted.

mod agent;
mod chain;
mod message;
mod possession;
mod selectors;
mod server;
mod signer;
mod template;

pub use agent::{X509PopAttestor, X509PopFiles};
pub use chain::{CaBundle, CaBundleError, ChainLimits};
pub use server::{ClientAddress, Mode, X509PopNodeAttestor, X509PopPolicy};
pub use template::{PathTemplate, TemplateError};

/// The attestation type.
pub const NAME: &str = "x509pop";
