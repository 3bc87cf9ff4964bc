//! Golden PCR values: for each PCR that a pool pins, every bank that the machine has allocated must show an accepted value. A bank
//! without golden values can't be judged, so it refuses. SHA-1, only a witness, may go without; a bank that the pool excepts as
//! unextended is no evidence and is not looked at. One bank at least is compared for each PCR.

use plastron_attestation_tcg::HashAlgorithm;

use crate::event_log::{PcrEvents, ReplayedLog};
use crate::quote::values::PcrValues;
use crate::{AppraiseError, Pool};

/// Most accepted values that a refusal shows: the events that made the refused one matter more.
const MAX_SHOWN: usize = 2;

/// The number of PCR values that were compared. A refusal shows the events of `log` that made the value.
pub(crate) fn check(
    pool: &Pool,
    allocated: &[HashAlgorithm],
    pcrs: &PcrValues,
    log: Option<&ReplayedLog<'_>>,
) -> Result<usize, AppraiseError> {
    let mut compared = 0;
    for (index, banks) in &pool.golden {
        let missing = |bank: HashAlgorithm| AppraiseError::NoGoldenPcr { pool: pool.name.clone(), bank, index: *index };
        let mut is_judged = false;
        for bank in allocated.iter().filter(|bank| !pool.boot.unextended_banks.contains(bank)) {
            let Some(accepted) = banks.get(bank) else {
                if *bank == HashAlgorithm::Sha1 {
                    continue;
                }
                return Err(missing(*bank));
            };
            let value = pcrs.get(&(*bank, *index)).ok_or_else(|| missing(*bank))?;
            if !accepted.contains(value) {
                return Err(AppraiseError::GoldenPcr {
                    bank: *bank,
                    index: *index,
                    got: hex::encode(value),
                    wanted: shown(accepted),
                    events: PcrEvents::of(log, *index),
                });
            }
            is_judged |= *bank != HashAlgorithm::Sha1;
            compared += 1;
        }
        if !is_judged {
            return Err(AppraiseError::NoBankForGoldenPcr { pool: pool.name.clone(), index: *index });
        }
    }
    Ok(compared)
}

/// Some of the accepted values, and how many more there are.
fn shown(accepted: &[Vec<u8>]) -> String {
    let mut text = accepted.iter().take(MAX_SHOWN).map(hex::encode).collect::<Vec<_>>().join(" or ");
    if let Some(others) = accepted.len().checked_sub(MAX_SHOWN).filter(|others| *others > 0) {
        text.push_str(&format!(" or {others} others"));
    }
    text
}
