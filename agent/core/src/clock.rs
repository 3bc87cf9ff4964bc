//! Where the time comes from.

use rustls_pki_types::UnixTime;

/// The wall clock. Programs construct the real one; tests pass one that they move.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixTime;
}
