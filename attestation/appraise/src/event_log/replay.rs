//! Replaying a log: extending PCRs with its digests, in every bank, as the TPM would have (TCG PC Client Platform Firmware Profile
//! 1.06, section 3.3.1, and EV_NO_ACTION and StartupLocality of section 10.4.5).
//!
//! A [`Replay`] proves nothing: anybody can write a log that replays to anything. [`super::ReplayedLog`] compares it with a quote.

use plastron_attestation_tcg::event_log::{MAX_PCR, RawLog};
use plastron_attestation_tcg::{HashAlgorithm, PcrValue};

const PCR_COUNT: usize = MAX_PCR as usize + 1;

/// The PCR values to which a log leads.
#[derive(Clone, Debug)]
pub struct Replay {
    banks: Vec<ReplayedBank>,
    /// The last event that extends each PCR, by its number.
    last_events: [Option<u32>; PCR_COUNT],
}

#[derive(Clone, Debug)]
struct ReplayedBank {
    bank: HashAlgorithm,
    values: [PcrValue; PCR_COUNT],
    /// The first event that should have extended the bank and has no digest for it: from there on the values mean nothing.
    without_digest: Option<u32>,
}

impl Replay {
    /// Extends every bank of the log with every event but EV_NO_ACTION. PCR 0 begins with the locality that the log states, every
    /// other PCR with zeros.
    pub fn of(log: &RawLog<'_>) -> Self {
        let locality = log.startup_locality().unwrap_or_default();
        let mut banks: Vec<ReplayedBank> =
            log.banks().iter().map(|bank| ReplayedBank::begin(*bank, locality)).collect();
        let mut last_events = [None; PCR_COUNT];
        for event in log.events().iter().filter(|event| event.is_extended()) {
            let index = usize::from(event.pcr);
            // The parser lets no other PCR than these pass in an event that extends.
            let Some(last_event) = last_events.get_mut(index) else { continue };
            *last_event = Some(event.number);
            for bank in &mut banks {
                match (event.digest(bank.bank), bank.values.get_mut(index)) {
                    (Some(digest), Some(value)) => value.extend(digest),
                    _ => bank.without_digest = bank.without_digest.or(Some(event.number)),
                }
            }
        }
        Self { banks, last_events }
    }

    /// The banks that the log has digests for, in its order.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> {
        self.banks.iter().map(|bank| bank.bank)
    }

    /// The PCRs that events extend, rising.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> {
        (0..=MAX_PCR).filter(|index| self.last_event(*index).is_some())
    }

    /// The number of the last event that extends this PCR.
    pub fn last_event(&self, index: u8) -> Option<u32> {
        self.last_events.get(usize::from(index)).copied().flatten()
    }

    /// The first event that extends a PCR and has no digest for this bank. The bank then has no values.
    pub fn event_without_digest(&self, bank: HashAlgorithm) -> Option<u32> {
        self.bank(bank)?.without_digest
    }

    /// The value of a PCR, also of one that no event extends; `None` where the log does not tell it: a bank that the log does not
    /// have, or that some event leaves out.
    pub fn value(&self, bank: HashAlgorithm, index: u8) -> Option<&PcrValue> {
        let bank = self.bank(bank)?;
        if bank.without_digest.is_some() {
            return None;
        }
        bank.values.get(usize::from(index))
    }

    fn bank(&self, bank: HashAlgorithm) -> Option<&ReplayedBank> {
        self.banks.iter().find(|replayed| replayed.bank == bank)
    }
}

impl ReplayedBank {
    fn begin(bank: HashAlgorithm, locality: u8) -> Self {
        let mut values = [PcrValue::zero(bank); PCR_COUNT];
        if let Some(first) = values.first_mut() {
            *first = PcrValue::after_startup(bank, locality);
        }
        Self { bank, values, without_digest: None }
    }
}
