//! An authority and the proofs it needs before it signs.
//!
//! [`SigningAuthority`] is made only from an [`AcknowledgedAuthority`] (it is in the committed bundle, and whoever hands that bundle out has
//! it) and a [`MatchedKey`] (the key store has the very key that the journal names), and both must be about the same journal entry. An
//! `AcknowledgedAuthority` is made only from a [`PublishedAuthority`].

mod acknowledged;
mod checked;
pub(crate) mod lifetime;
mod proof;
mod signing;

pub use acknowledged::AcknowledgedAuthority;
pub(crate) use acknowledged::{Listeners, Publicity};
pub use checked::CheckedSignature;
pub use lifetime::guaranteed_svid_ttl;
pub(crate) use proof::spki_sha256;
pub use proof::{AuthorityError, MatchedKey, PublishedAuthority};
pub(crate) use signing::certificate_algorithm;
pub use signing::{JwtUse, SigningAuthority, SigningUse, X509Use};
