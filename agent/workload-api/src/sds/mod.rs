//! Envoy's Secret Discovery Service, version 3, in the form that Envoy calls state of the world.
//!
//! The names, the rules of the conversation and the shapes are SPIRE's, so that a proxy's configuration needs no change. What differs:
//! every name of a request is answered where SPIRE answers one of its kind, and nothing is sent again that is what was sent before.
//! Proxies send no security header: it is a rule of the Workload API alone. Deliberately not here: the incremental form.

mod conversation;
mod names;
mod pem;
mod secrets;
mod service;
mod validation;

pub use names::{PeerValidation, SdsSettings};
pub(crate) use service::{SecretDiscovery, StreamPlaces};

#[cfg(test)]
mod tests;
