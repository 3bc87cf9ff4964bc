//! An X.509 authority and the proofs it needs before it signs.
//!
//! [`SigningAuthority`] is made only from a [`PublishedAuthority`] (its certificate is in the committed bundle) and a
//! [`MatchedKey`] (the key store has the very key that the journal names), and both must be about the same journal entry.

mod proof;
mod signing;

pub(crate) use proof::spki_sha256;
pub use proof::{AuthorityError, MatchedKey, PublishedAuthority};
pub use signing::SigningAuthority;
pub(crate) use signing::certificate_algorithm;
