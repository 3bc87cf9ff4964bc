//! Banks that firmware left alone (TPM Carte Blanche, CVE-2021-42299): user space can fill such a bank with a whole false boot.
//!
//! Without an event log to replay, the signed values still show it in one direction: a PCR of firmware that is untouched in one
//! allocated bank and not in another. A bank that an attacker has filled completely is caught by golden values in every bank.

use plastron_attestation_tcg::HashAlgorithm;

use crate::AppraiseError;
use crate::quote::values::PcrValues;

/// PCRs that firmware extends.
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

/// The number of firmware PCRs that were compared between banks, apart from those that the pool says its firmware does not extend: none
/// where one bank is left or none of these PCRs was quoted.
pub(crate) fn check(
    allocated: &[HashAlgorithm],
    unextended: &[HashAlgorithm],
    pcrs: &PcrValues,
) -> Result<usize, AppraiseError> {
    let mut compared = 0;
    for index in FIRMWARE_PCRS {
        let judged = || allocated.iter().filter(|bank| !unextended.contains(bank));
        let quoted = || judged().filter_map(|bank| Some((*bank, pcrs.get(&(*bank, index))?)));
        let untouched = |value: &[u8]| value.iter().all(|byte| *byte == 0);
        if quoted().count() < 2 {
            continue;
        }
        let bank = quoted().find(|(_, value)| untouched(value));
        let other = quoted().find(|(_, value)| !untouched(value));
        if let (Some((bank, _)), Some((other, _))) = (bank, other) {
            return Err(AppraiseError::BankNotExtended { bank, other, index });
        }
        compared += 1;
    }
    Ok(compared)
}
