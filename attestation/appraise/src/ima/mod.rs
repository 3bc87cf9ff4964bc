//! IMA measurement lists: `ReplayedImaList` is the proof that the beginning of a list is what a quote's PCR 10 holds.
//!
//! The list is read after the quote and grows meanwhile, so what the quote does not cover yet is left out. What runs is told by the
//! kernel alone: a kernel that was booted with a weak IMA policy, or none, measures little. Not here: the list's form
//! (`tcg::ima`), how it travels (`attestation`), and whether its files are good: a policy language will say.

mod boot_aggregate;
mod extension;
mod facts;
mod judge;
mod replay;

pub use extension::Extension;
pub use facts::{ImaFacts, ImaFileFact, ImaViolation};
pub(crate) use judge::judge;

use std::collections::BTreeMap;

use plastron_attestation_tcg::ima::{ImaEntry, ImaList};
use plastron_attestation_tcg::{HashAlgorithm, Name};

use crate::{AppraiseError, Check, Checklist, VerifiedQuote};
use boot_aggregate::BootAggregate;

/// The PCR that Linux extends with the list, unless its IMA policy names another.
pub const IMA_PCR: u8 = 10;

/// A list of which the quote covers the beginning, and that is about the boot that the quote shows.
#[derive(Debug)]
pub struct ReplayedImaList<'a> {
    ak_name: Name,
    reset_count: u32,
    proven: Vec<ImaEntry<'a>>,
    unproven: usize,
    banks: BTreeMap<HashAlgorithm, Extension>,
    boot_aggregate: BootAggregate,
}

impl<'a> ReplayedImaList<'a> {
    /// Checks, in order: the quote has PCR 10, in every allocated bank, and IMA extended it there; each entry went into PCR 10, and its
    /// template digest is that of its data; a beginning of the list, the shortest, replays to PCR 10 in every allocated bank at once; its first
    /// entry is `boot_aggregate`, and equals PCR 0 to 9 of this quote (0 to 7 in a SHA-1 bank).
    pub fn verify(list: ImaList<'a>, quote: &VerifiedQuote, checks: &mut Checklist) -> Result<Self, AppraiseError> {
        let replayed = replay::replay(list.entries(), quote.allocated(), quote.pcrs())?;
        let (proven, rest) = list.entries().split_at_checked(replayed.entries).unwrap_or((list.entries(), &[]));
        let banks: Vec<_> =
            replayed.banks.iter().map(|(bank, extension)| format!("{bank} {}", extension.name())).collect();
        let violations = proven.iter().filter(|entry| entry.is_violation()).count();
        checks.pass(
            Check::ImaList,
            format!(
                "{} of {} entries, {}, {violations} violations",
                proven.len(),
                list.entries().len(),
                banks.join(", ")
            ),
        );
        let boot_aggregate = boot_aggregate::check(proven, quote.allocated(), quote.pcrs())?;
        checks.pass(Check::ImaBootAggregate, boot_aggregate.to_string());
        Ok(Self {
            ak_name: quote.ak_name().clone(),
            reset_count: quote.state().reset_count,
            proven: proven.to_vec(),
            unproven: rest.len(),
            banks: replayed.banks,
            boot_aggregate,
        })
    }

    /// The AK of the quote, and the boot: a list counts for these alone.
    pub fn boot(&self) -> (&Name, u32) {
        (&self.ak_name, self.reset_count)
    }

    /// The entries that the quote covers.
    pub fn entries(&self) -> &[ImaEntry<'a>] {
        &self.proven
    }

    /// What they say.
    pub fn facts(&self) -> ImaFacts {
        facts::of(self)
    }
}

#[cfg(test)]
mod tests;
