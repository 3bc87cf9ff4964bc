//! The PCRs that a quote covers: exactly those asked for, every bank once and in order. A bank that is not allocated comes back
//! with an empty bitmap, which is signed evidence that it is not; nothing else may be missing (CVE-2022-0317, CVE-2024-29039).

use plastron_attestation_tcg::{HashAlgorithm, PcrBank};

use crate::AppraiseError;

/// The allocated banks of the quote, in order.
pub(crate) fn check(quoted: &[PcrBank], asked: &[PcrBank]) -> Result<Vec<(HashAlgorithm, u32)>, AppraiseError> {
    let mismatch = || AppraiseError::PcrSelection { got: readable(quoted), wanted: readable(asked) };
    if quoted.len() != asked.len() {
        return Err(mismatch());
    }
    let mut allocated = Vec::new();
    for (got, wanted) in quoted.iter().zip(asked) {
        if got.hash != wanted.hash {
            return Err(mismatch());
        }
        match got.bitmap {
            0 => {}
            bitmap if bitmap == wanted.bitmap => {
                allocated.push((HashAlgorithm::from_id(got.hash).ok_or_else(mismatch)?, bitmap));
            }
            _ => return Err(mismatch()),
        }
    }
    if allocated.iter().all(|(bank, _)| *bank == HashAlgorithm::Sha1) {
        return Err(AppraiseError::OnlySha1);
    }
    Ok(allocated)
}

/// `sha256:0x0040ff`, bank by bank.
pub(crate) fn readable(banks: &[PcrBank]) -> String {
    let banks = banks.iter().map(|bank| match HashAlgorithm::from_id(bank.hash) {
        Some(hash) => format!("{hash}:{:#08x}", bank.bitmap),
        None => format!("{:#06x}:{:#08x}", bank.hash, bank.bitmap),
    });
    banks.collect::<Vec<_>>().join("+")
}
