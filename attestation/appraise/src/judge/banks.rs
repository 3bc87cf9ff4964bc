//! Banks that firmware left alone (TPM Carte Blanche, CVE-2021-42299): user space can fill such a bank with a whole false boot.
//!
//! Without an event log to replay, the signed values still show it in one direction: a PCR of firmware that is untouched in one
//! allocated bank and not in another. A bank that an attacker has filled completely is caught by golden values in every bank.

use plastron_attestation_tcg::HashAlgorithm;

use crate::AppraiseError;
use crate::quote::values::PcrValues;

/// PCRs that firmware extends.
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

pub(crate) fn check(allocated: &[HashAlgorithm], pcrs: &PcrValues) -> Result<(), AppraiseError> {
    for index in FIRMWARE_PCRS {
        let value = |bank: &HashAlgorithm| pcrs.get(&(*bank, index));
        let untouched = |bank: &HashAlgorithm| value(bank).is_some_and(|value| value.iter().all(|byte| *byte == 0));
        let Some(bank) = allocated.iter().find(|bank| untouched(bank)) else { continue };
        if let Some(other) = allocated.iter().find(|other| value(other).is_some() && !untouched(other)) {
            return Err(AppraiseError::BankNotExtended { bank: *bank, other: *other, index });
        }
    }
    Ok(())
}
