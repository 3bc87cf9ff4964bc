//! Signing keys in a PKCS#11 token (PKCS#11 2.40). The only crate that names `cryptoki`.
//!
//! Keys are made in the token and never leave it: whenever a key is loaded, the attributes that say so are asserted, its public
//! key is read back and compared with what it was before, and a signature of it is verified. Calls run on threads of this
//! crate's own, one session each, behind a bounded queue and a deadline; a session, a login or the whole module that breaks is
//! set up again once per call, by the table in `classify.rs`. A device that fails again and again is left alone for a while, and calls
//! fail at once (`breaker.rs`). A refused PIN is never tried again.
//! What this crate deliberately does not do: it relabels nothing, imports nothing, and destroys only what it is told to.

mod breaker;
mod classify;
mod config;
mod connection;
mod encode;
mod fresh_key;
mod held;
mod inventory;
mod key;
mod label;
mod latency;
mod module;
mod pool;
mod store;
mod token;

pub use config::{PinSource, Pkcs11Config, TokenSelector};
pub use store::Pkcs11Store;
