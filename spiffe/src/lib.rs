#![doc = include_str!("../README.md")]

pub mod bundle;
mod dns_name;
mod entry;
pub mod federation;
mod id;
pub mod jwt;
mod key;
mod selector;
mod tlv;
pub mod x509;

pub use bundle::{Bundle, BundleError, JwtAuthority, X509Authority};
pub use dns_name::{DnsNameError, check_dns_names};
pub use entry::{EntryError, MAX_ENTRY_ID_LEN, MAX_FEDERATES_WITH, MAX_HINT_LEN, MAX_SELECTORS, RegistrationEntry};
pub use federation::{BundleEndpointUrl, EndpointProfile, EndpointUrlError, FederationRelationship};
pub use id::{MAX_ID_LEN, MAX_TRUST_DOMAIN_LEN, SpiffeId, SpiffeIdError, TrustDomain};
pub use key::KeyError;
pub use selector::{Selector, SelectorError};
