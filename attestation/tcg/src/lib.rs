//! TPM 2.0 structures (TPM 2.0 Library, part 2), firmware event logs with what UEFI and Windows put into them, and IMA lists, read from
//! bytes, without a TPM and without libtss2.
//!
//! Readers borrow from the bytes that arrived, so that a signature is always checked over those and nothing is encoded again.
//! Every reader is bounded, refuses trailing bytes, and says at which offset what is wrong. Not here: what any of it proves.

pub mod algorithm;
mod attest;
mod attributes;
pub mod event_log;
pub mod ima;
mod name;
mod pcr_selection;
mod pcr_value;
mod public;
mod reader;
mod signature;
pub mod sipa;
mod template;
pub mod uefi;

pub use algorithm::{EccCurve, HashAlgorithm};
pub use attest::{
    Attested, ClockInfo, MAX_ATTEST_LEN, ST_ATTEST_CERTIFY, ST_ATTEST_QUOTE, TPM_GENERATED_VALUE, TpmsAttest,
};
pub use attributes::ObjectAttributes;
pub use name::{Name, QualifiedName, RH_ENDORSEMENT};
pub use pcr_selection::{MAX_BANKS, PcrBank, encode_pcr_selection, parse_pcr_selection, pcr_indices};
pub use pcr_value::PcrValue;
pub use public::{AsymScheme, MAX_PUBLIC_LEN, PublicKey, SymmetricDefinition, TpmtPublic, left_pad, sec1_point};
pub use reader::{ReadError, ReadFault, Reader};
pub use signature::{MAX_SIGNATURE_LEN, TpmtSignature};
pub use template::{EkAuthorisation, EkKeyType, EkNvIndices, EkTemplate};
