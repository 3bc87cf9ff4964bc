//! The PCR values that come with a quote: the signature covers them only through pcrDigest.

use std::collections::BTreeMap;

use plastron_attestation_tcg::{HashAlgorithm, pcr_indices};
use subtle::ConstantTimeEq;

use crate::AppraiseError;

/// Values of PCRs, by bank and index.
pub(crate) type PcrValues = BTreeMap<(HashAlgorithm, u8), Vec<u8>>;

/// Checks: as many values as PCRs were quoted, each as long as its bank's digest. They come bank by bank, rising.
pub(crate) fn check_form(allocated: &[(HashAlgorithm, u32)], values: &[Vec<u8>]) -> Result<PcrValues, AppraiseError> {
    let places: Vec<_> =
        allocated.iter().flat_map(|(bank, bitmap)| pcr_indices(*bitmap).map(|index| (*bank, index))).collect();
    if places.len() != values.len() {
        return Err(AppraiseError::PcrCount { got: values.len(), wanted: places.len() });
    }
    for ((bank, index), value) in places.iter().zip(values) {
        if value.len() != bank.digest_len() {
            return Err(AppraiseError::PcrLength { bank: *bank, index: *index, got: value.len() });
        }
    }
    Ok(places.into_iter().zip(values.iter().cloned()).collect())
}

/// pcrDigest is over the values in the order of the selection, with the hash of the signing scheme, which can differ from the bank's.
pub(crate) fn check_digest(hash: HashAlgorithm, values: &[Vec<u8>], pcr_digest: &[u8]) -> Result<(), AppraiseError> {
    let digest = hash.digest(values.iter().map(Vec::as_slice));
    if bool::from(digest.ct_eq(pcr_digest)) {
        return Ok(());
    }
    Err(AppraiseError::PcrDigest { got: hex::encode(digest), wanted: hex::encode(pcr_digest) })
}
