//! Which beginning of a list replays to PCR 10.

use std::collections::BTreeMap;

use plastron_attestation_tcg::ima::ImaEntry;
use plastron_attestation_tcg::{HashAlgorithm, PcrValue};

use super::{Extension, IMA_PCR};
use crate::AppraiseError;
use crate::quote::values::PcrValues;

/// A beginning of the list that the quote covers.
pub(super) struct Replayed {
    /// Its length.
    pub(super) entries: usize,
    /// How each bank was extended.
    pub(super) banks: BTreeMap<HashAlgorithm, Extension>,
}

/// A bank while it is replayed.
struct Bank<'a> {
    algorithm: HashAlgorithm,
    quoted: &'a [u8],
    /// One value for each way in which the kernel may have extended it. Those that pad differ from the first violation on: until then one
    /// value serves both.
    values: Vec<(Extension, PcrValue)>,
    /// After how many entries this bank alone first had the quoted value.
    alone: Option<usize>,
}

impl Bank<'_> {
    fn extend(&mut self, entry: &ImaEntry<'_>, sha1: &[u8]) {
        let hashed = match self.algorithm {
            HashAlgorithm::Sha1 => sha1.to_vec(),
            algorithm => entry.template_hash(algorithm),
        };
        if entry.is_violation() && !self.values.iter().any(|(extension, _)| *extension == Extension::PaddedThroughout) {
            let padded = self.values.iter().find(|(extension, _)| *extension == Extension::Padded).copied();
            self.values.extend(padded.map(|(_, value)| (Extension::PaddedThroughout, value)));
        }
        for (extension, value) in &mut self.values {
            value.extend(&extension.digest(entry, &hashed, sha1));
        }
    }

    fn matching(&self) -> Option<Extension> {
        self.values.iter().find(|(_, value)| value.as_bytes() == self.quoted).map(|(extension, _)| *extension)
    }
}

/// Checks, in order: PCR 10 is quoted in each bank, and is not zeros; then, entry by entry, that it went into PCR 10, and that its template
/// digest is that of its data, until every bank has the quoted value. The kernel extends all banks by one command, so one length serves all.
pub(super) fn replay(
    entries: &[ImaEntry<'_>],
    allocated: &[HashAlgorithm],
    pcrs: &PcrValues,
) -> Result<Replayed, AppraiseError> {
    let mut banks = allocated.iter().map(|bank| start(*bank, pcrs)).collect::<Result<Vec<_>, _>>()?;
    for (entry, count) in entries.iter().zip(1..) {
        if entry.pcr != IMA_PCR {
            return Err(AppraiseError::ImaPcr { entry: entry.number, pcr: entry.pcr });
        }
        let sha1 = entry.template_hash(HashAlgorithm::Sha1);
        if !entry.is_violation() && sha1 != entry.template_digest {
            return Err(AppraiseError::ImaTemplateDigest {
                entry: entry.number,
                got: hex::encode(entry.template_digest),
                wanted: hex::encode(sha1),
            });
        }
        for bank in &mut banks {
            bank.extend(entry, &sha1);
            if bank.alone.is_none() && bank.matching().is_some() {
                bank.alone = Some(count);
            }
        }
        let matching =
            banks.iter().map(|bank| Some((bank.algorithm, bank.matching()?))).collect::<Option<BTreeMap<_, _>>>();
        if let Some(banks) = matching {
            return Ok(Replayed { entries: count, banks });
        }
    }
    Err(AppraiseError::ImaReplay { entries: entries.len(), banks: how_far(&banks) })
}

fn start(bank: HashAlgorithm, pcrs: &PcrValues) -> Result<Bank<'_>, AppraiseError> {
    let quoted = pcrs.get(&(bank, IMA_PCR)).ok_or(AppraiseError::ImaNotQuoted { bank, index: IMA_PCR })?;
    if quoted.iter().all(|byte| *byte == 0) {
        return Err(AppraiseError::ImaNotExtended { bank });
    }
    let first = Extension::of_bank(bank).iter().filter(|extension| **extension != Extension::PaddedThroughout);
    let values = first.map(|extension| (*extension, PcrValue::zero(bank))).collect();
    Ok(Bank { algorithm: bank, quoted, values, alone: None })
}

/// Where each bank alone matched: a person sees at once whether one bank was tampered with, or the list.
fn how_far(banks: &[Bank<'_>]) -> String {
    let words = banks.iter().map(|bank| match bank.alone {
        Some(count) => format!("bank {} matches after {count} entries", bank.algorithm),
        None => format!("bank {} never", bank.algorithm),
    });
    words.collect::<Vec<_>>().join(", ")
}
