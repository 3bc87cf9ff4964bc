//! What UEFI firmware puts into an event log: structures of the UEFI Specification 2.10 and of the TCG PC Client Platform Firmware
//! Profile 1.06, little-endian, one file each.
//!
//! Not here: the log (`event_log`), and whether a digest covers any of it.

mod char16;
mod guid;
mod known_guids;
mod signature_list;
mod variable;

pub use char16::utf16_le;
pub use guid::Guid;
pub use known_guids::*;
pub use signature_list::{MAX_SIGNATURE_LISTS, MAX_SIGNATURES, SignatureData, SignatureList};
pub use variable::{MAX_VARIABLE_DATA, MAX_VARIABLE_NAME, Variable};
