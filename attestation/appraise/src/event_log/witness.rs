//! PCR 7 of the banks that a log with SHA-1 alone does not have.
//!
//! Such a log counts only by an exception of the pool, and SHA-1 may be the bank that firmware left alone and user space filled with
//! another boot (CVE-2021-42299). What PCR 7 holds is text that stands in the log, so that its value in every other bank can be made from
//! the log, and has to be the quoted one. Other PCRs hold digests of what the log does not have: nothing compares them.

use plastron_attestation_tcg::event_log::{RawEvent, RawLog};
use plastron_attestation_tcg::{HashAlgorithm, PcrValue};

use super::replayed::LastEvent;
use crate::{AppraiseError, VerifiedQuote};

/// The PCR of Secure Boot.
const PCR: u8 = 7;

/// Checks each allocated bank that the log lacks and the pool does not except. A PCR 7 that was not quoted proves nothing anyway.
pub(super) fn check(
    log: &RawLog<'_>,
    quote: &VerifiedQuote,
    unextended_banks: &[HashAlgorithm],
) -> Result<(), AppraiseError> {
    let lacking = |bank: &&HashAlgorithm| !log.banks().contains(bank) && !unextended_banks.contains(bank);
    for bank in quote.allocated().iter().filter(lacking) {
        let Some(quoted) = quote.pcrs().get(&(*bank, PCR)) else { continue };
        let mut value = PcrValue::zero(*bank);
        let mut last_event = None;
        for event in log.events().iter().filter(|event| event.pcr == PCR && event.is_extended()) {
            value.extend(&bank.digest([measured(event)]));
            last_event = Some(event.number);
        }
        if value.as_bytes() != quoted.as_slice() {
            return Err(AppraiseError::BankNotReplayed {
                bank: *bank,
                other: HashAlgorithm::Sha1,
                index: PCR,
                quoted: hex::encode(quoted),
                replayed: hex::encode(value.as_bytes()),
                last_event: LastEvent(last_event),
            });
        }
    }
    Ok(())
}

/// What was hashed: the data, which old shim hashes without their last byte (see `facts::authority`).
fn measured<'a>(event: &RawEvent<'a>) -> &'a [u8] {
    let hashed = |data: &[u8]| event.digest(HashAlgorithm::Sha1) == Some(HashAlgorithm::Sha1.digest([data]).as_slice());
    match event.data.split_last() {
        Some((_, short)) if !hashed(event.data) && hashed(short) => short,
        _ => event.data,
    }
}
