//! TPM 2.0 structures read from bytes (TPM 2.0 Library, part 2), without a TPM and without libtss2.
//!
//! Readers borrow from the bytes that arrived, so that a signature is always checked over those and nothing is encoded again.
//! Every reader is bounded, refuses trailing bytes, and says at which offset what is wrong. Not here: what any of it proves.

pub mod algorithm;
mod attributes;
mod name;
mod public;
mod reader;
mod template;

pub use algorithm::{EccCurve, HashAlgorithm};
pub use attributes::ObjectAttributes;
pub use name::{Name, QualifiedName, RH_ENDORSEMENT};
pub use public::{AsymScheme, MAX_PUBLIC_LEN, PublicKey, SymmetricDefinition, TpmtPublic, left_pad, sec1_point};
pub use reader::{ReadError, ReadFault, Reader};
pub use template::EkTemplate;
