//! SPIFFE IDs, selectors, registration entries, X.509-SVIDs and bundles: parse, build, validate.
//!
//! Implements SPIFFE-ID.md, X509-SVID.md and SPIFFE_Trust_Domain_and_Bundle.md of the SPIFFE standards, and SPIRE's rules for
//! registration entries. Pure: no I/O, no clock, no randomness, no log; keys that sign are elsewhere (`plastron-hsm`).
//! Bundles of two trust domains are never merged, and a leaf is verified against the bundle of the domain that it names.

pub mod bundle;
mod dns_name;
mod entry;
mod id;
mod key;
mod selector;
mod tlv;
pub mod x509;

pub use bundle::{Bundle, BundleError, JwtAuthority, X509Authority};
pub use dns_name::DnsNameError;
pub use entry::{EntryError, MAX_ENTRY_ID_LEN, MAX_FEDERATES_WITH, MAX_HINT_LEN, MAX_SELECTORS, RegistrationEntry};
pub use id::{MAX_ID_LEN, MAX_TRUST_DOMAIN_LEN, SpiffeId, SpiffeIdError, TrustDomain};
pub use key::KeyError;
pub use selector::{Selector, SelectorError};
