//! The `tpm` node attestor: both halves.

mod agent;
mod server;

pub use agent::{AkStore, AkStoreError, TpmAgentAttestor};
pub use server::TpmNodeAttestor;
