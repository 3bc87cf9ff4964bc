//! Golden PCR values: for each PCR that a pool pins, every bank that the machine has allocated must show an accepted value. A bank
//! without golden values can't be judged, so it refuses; SHA-1, only a witness, may go without.

use plastron_attestation_tcg::HashAlgorithm;

use crate::quote::values::PcrValues;
use crate::{AppraiseError, Pool};

/// The number of PCR values that were compared.
pub(crate) fn check(pool: &Pool, allocated: &[HashAlgorithm], pcrs: &PcrValues) -> Result<usize, AppraiseError> {
    let mut compared = 0;
    for (index, banks) in &pool.golden {
        for bank in allocated {
            let missing = || AppraiseError::NoGoldenPcr { pool: pool.name.clone(), bank: *bank, index: *index };
            let Some(accepted) = banks.get(bank) else {
                if *bank == HashAlgorithm::Sha1 {
                    continue;
                }
                return Err(missing());
            };
            let value = pcrs.get(&(*bank, *index)).ok_or_else(missing)?;
            if !accepted.contains(value) {
                return Err(AppraiseError::GoldenPcr {
                    bank: *bank,
                    index: *index,
                    got: hex::encode(value),
                    wanted: accepted.iter().map(hex::encode).collect::<Vec<_>>().join(" or "),
                });
            }
            compared += 1;
        }
    }
    Ok(compared)
}
