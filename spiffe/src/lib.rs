//! SPIFFE IDs, selectors, registration entries, X.509-SVIDs and bundles: parse, build, validate. Pure.

pub mod bundle;
mod entry;
mod id;
mod selector;
pub mod x509;

pub use bundle::{Bundle, JwtAuthority, X509Authority};
pub use entry::RegistrationEntry;
pub use id::{MAX_ID_LEN, MAX_TRUST_DOMAIN_LEN, SpiffeId, SpiffeIdError, TrustDomain};
pub use selector::{Selector, SelectorError};
