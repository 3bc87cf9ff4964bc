//! `boot_aggregate`, the first entry of a list: the kernel's own digest of the PCRs that tell what was booted.
//!
//! It ties the list to this boot in a second way: a list replays only to its own PCR 10, and is about its own PCR 0 to 9.

use std::fmt;

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::ima::{BOOT_AGGREGATE, ImaEntry};

use crate::AppraiseError;
use crate::quote::values::PcrValues;

/// What `boot_aggregate` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BootAggregate {
    /// The digest of PCRs of one bank.
    Of { bank: HashAlgorithm, digest: Vec<u8> },
    /// Zeros: the TPM has neither a SHA-256 nor a SHA-1 bank, and the kernel looks at no other.
    Zeros,
}

impl fmt::Display for BootAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of { bank, .. } => write!(f, "of PCR 0 to {} of bank {bank}", last_pcr(*bank)),
            Self::Zeros => f.write_str("zeros: neither a SHA-256 nor a SHA-1 bank"),
        }
    }
}

/// GRUB's PCR 8 and 9 are in it, save in a SHA-1 bank, where it is as it always was.
fn last_pcr(bank: HashAlgorithm) -> u8 {
    match bank {
        HashAlgorithm::Sha1 => 7,
        HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => 9,
    }
}

/// Checks, in order: the first entry is `boot_aggregate`, and no violation; if it is zeros, the kernel had no bank to sum up; its bank is allocated, and the PCRs are
/// quoted; it is their digest.
pub(super) fn check(
    proven: &[ImaEntry<'_>],
    allocated: &[HashAlgorithm],
    pcrs: &PcrValues,
) -> Result<BootAggregate, AppraiseError> {
    // The data of a violation are not covered by the quote.
    let first = proven.first().filter(|entry| !entry.is_violation());
    let file = first.and_then(|entry| entry.file).filter(|file| file.name == BOOT_AGGREGATE);
    let file = file.ok_or(AppraiseError::ImaNoBootAggregate)?;
    let refused = |wanted: String| AppraiseError::ImaBootAggregate {
        got: format!("{}:{}", file.digest_algorithm.escape_debug(), hex::encode(file.digest)),
        wanted,
    };
    if file.digest.iter().all(|byte| *byte == 0) {
        return match allocated.iter().find(|bank| matches!(bank, HashAlgorithm::Sha256 | HashAlgorithm::Sha1)) {
            None => Ok(BootAggregate::Zeros),
            Some(bank) => Err(refused(format!("the digest of PCR 0 to {} of bank {bank}", last_pcr(*bank)))),
        };
    }
    let bank = HashAlgorithm::from_name(file.digest_algorithm).filter(|bank| allocated.contains(bank));
    let bank = bank.ok_or_else(|| refused("of a bank that is allocated".to_owned()))?;
    let values = (0..=last_pcr(bank))
        .map(|index| pcrs.get(&(bank, index)).map(Vec::as_slice).ok_or(AppraiseError::ImaNotQuoted { bank, index }));
    let digest = bank.digest(values.collect::<Result<Vec<_>, _>>()?);
    if digest == file.digest {
        return Ok(BootAggregate::Of { bank, digest });
    }
    Err(refused(format!("{bank}:{}, of PCR 0 to {}", hex::encode(digest), last_pcr(bank))))
}
