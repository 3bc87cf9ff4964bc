//! `ReplayedLog`: the proof that a log is the one of the boot that a quote shows.
//!
//! It proves that these digests were extended in this order into the PCRs that it names. It does not prove an event's type or text:
//! facts say for each of them what its digest covers.

use plastron_attestation_tcg::event_log::RawLog;
use plastron_attestation_tcg::{HashAlgorithm, PcrValue, pcr_indices};

use super::Replay;
use super::facts::{Facts, PcrSet};
use super::quirks::{EXIT_BOOT_SERVICES_PCR, UNLOGGED_ENDINGS, lacks_exit_boot_services};
use super::witness;
use crate::{AppraiseError, BootPolicy, Check, Checklist, Sha1EventLog, VerifiedQuote};

/// PCRs that nothing but firmware, boot loader and shim extends. They must replay.
const BOOT_PCRS: u32 = 0b0100_0011_1111_1111;

/// PCRs of firmware.
const FIRMWARE_PCRS: u32 = 0xff;

/// A log that replays to the PCR values of one quote.
#[derive(Debug)]
pub struct ReplayedLog<'a> {
    log: RawLog<'a>,
    replay: Replay,
    quote_sha256: [u8; 32],
    banks: Vec<HashAlgorithm>,
    pcrs: u32,
}

impl<'a> ReplayedLog<'a> {
    /// Checks, in order: the log has a bank other than SHA-1; a bank is left to compare it with; it has a digest for every allocated bank
    /// in every event; firmware extended each of these banks; each replays to the quoted value in every quoted PCR of firmware and boot
    /// loader (0 to 9 and 14). PCR 5 may end in an ExitBootServices that the log lacks. User space goes on extending 10 to 13 and 15:
    /// they need not be equal, and only where they are do their events count.
    ///
    /// Banks that `policy` names as unextended are left out, and under its SHA-1 exception the banks that such a log does not have;
    /// both show in `checks`. Of the latter PCR 7 is compared all the same, as `witness` says.
    pub fn verify(
        log: RawLog<'a>,
        quote: &VerifiedQuote,
        policy: &BootPolicy,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        let only_sha1 = log.banks().iter().all(|bank| *bank == HashAlgorithm::Sha1);
        match (only_sha1, policy.sha1_event_log) {
            (true, Sha1EventLog::Refuse) => return Err(AppraiseError::EventLogSha1 { format: log.format().name() }),
            (true, Sha1EventLog::Accept) => {
                checks.not_checked(Check::EventLogBanks, "SHA-1 only: the pool accepts such logs");
            }
            (false, _) => checks.pass(Check::EventLogBanks, names(log.banks())),
        }
        let replay = Replay::of(&log);
        let banks = judged_banks(&log, quote, policy, only_sha1, checks);
        if let (true, Some(bank)) = (banks.is_empty(), quote.allocated().first()) {
            return Err(AppraiseError::BankNotInLog { bank: *bank, log_banks: names(log.banks()) });
        }
        for bank in &banks {
            check_bank_is_told(&log, &replay, *bank)?;
            check_bank_is_extended(quote, *bank)?;
        }
        let comparison = Comparison { replay: &replay, quote, may_go_on: lacks_exit_boot_services(&log) };
        let mismatches: Vec<_> = banks.iter().filter_map(|bank| mismatch(&comparison, *bank)).collect();
        let replays = |bank: &&HashAlgorithm| mismatches.iter().all(|mismatch| mismatch.bank != **bank);
        if let Some(mismatch) = mismatches.first() {
            return Err(mismatch.error(banks.iter().find(replays).copied()));
        }
        if !only_sha1 && banks.iter().all(|bank| *bank == HashAlgorithm::Sha1) {
            return Err(AppraiseError::EventLogSha1 { format: log.format().name() });
        }
        if only_sha1 {
            witness::check(&log, quote, &policy.unextended_banks)?;
        }
        let pcrs = equal_pcrs(&comparison, &banks);
        note(&log, &comparison, &banks, pcrs, checks);
        Ok(Self { log, replay, quote_sha256: quote.sha256(), banks, pcrs })
    }

    /// The log. Its digests and their order are proven in [`Self::is_proven`] PCRs; types and texts are the node's words.
    pub fn raw(&self) -> &RawLog<'a> {
        &self.log
    }

    /// The values to which it replays.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The banks in which it replays: every allocated one, apart from the policy's exceptions.
    pub fn banks(&self) -> &[HashAlgorithm] {
        &self.banks
    }

    /// Whether this PCR was quoted and replays in every one of [`Self::banks`]: only then are its events what was extended.
    pub fn is_proven(&self, index: u8) -> bool {
        pcr_indices(self.pcrs).any(|proven| proven == index)
    }

    /// What the log tells. What it says about PCRs that are not proven is untrusted; the banks that are not judged are not looked at.
    pub fn facts(&self) -> Facts {
        Facts::of_replayed(&self.log, &self.banks, PcrSet::of(pcr_indices(self.pcrs)))
    }

    /// Checks that this is the log of the boot that this very quote shows.
    pub fn check_subject(&self, quote: &VerifiedQuote) -> Result<(), AppraiseError> {
        if self.quote_sha256 == quote.sha256() {
            return Ok(());
        }
        Err(AppraiseError::Subject { what: "the event log was replayed for another quote" })
    }
}

/// The allocated banks, without those that the policy excepts. What is left out is written down.
fn judged_banks(
    log: &RawLog<'_>,
    quote: &VerifiedQuote,
    policy: &BootPolicy,
    only_sha1: bool,
    checks: &mut Checklist,
) -> Vec<HashAlgorithm> {
    let excepted =
        |bank: &HashAlgorithm| policy.unextended_banks.contains(bank) || only_sha1 && !log.banks().contains(bank);
    let (left_out, judged): (Vec<_>, Vec<_>) = quote.allocated().iter().copied().partition(excepted);
    if !left_out.is_empty() {
        checks.not_checked(
            Check::BankNotExtended,
            format!("{}: allocated, and no evidence by an exception of the pool", names(&left_out)),
        );
    }
    judged
}

fn check_bank_is_told(log: &RawLog<'_>, replay: &Replay, bank: HashAlgorithm) -> Result<(), AppraiseError> {
    if !log.banks().contains(&bank) {
        return Err(AppraiseError::BankNotInLog { bank, log_banks: names(log.banks()) });
    }
    match replay.event_without_digest(bank) {
        Some(event) => Err(AppraiseError::BankMissingInEvent { bank, event }),
        None => Ok(()),
    }
}

/// Firmware begins every boot with measurements into PCR 0, in every bank. What is untouched could be filled by whoever comes later.
fn check_bank_is_extended(quote: &VerifiedQuote, bank: HashAlgorithm) -> Result<(), AppraiseError> {
    let firmware: Vec<_> =
        pcr_indices(FIRMWARE_PCRS).filter_map(|index| Some((index, quote.pcrs().get(&(bank, index))?))).collect();
    let untouched = |(_, value): &&(u8, &Vec<u8>)| is_first_value(value);
    let all = firmware.iter().all(|pcr| untouched(&pcr));
    match firmware.iter().find(untouched) {
        Some((index, _)) if *index == 0 || all => Err(AppraiseError::BankUntouched { bank, index: *index }),
        _ => Ok(()),
    }
}

/// What a PCR holds before anything is extended: zeros, with the locality in the last byte.
fn is_first_value(value: &[u8]) -> bool {
    match value.split_last() {
        Some((last, rest)) => matches!(last, 0 | 3 | 4) && rest.iter().all(|byte| *byte == 0),
        None => true,
    }
}

/// A PCR whose quoted value is not the replayed one.
struct Mismatch {
    bank: HashAlgorithm,
    index: u8,
    quoted: String,
    replayed: String,
    last_event: Option<u32>,
}

impl Mismatch {
    /// One bank among others that replay was filled by something else than this boot; otherwise the log is of another boot.
    fn error(&self, other: Option<HashAlgorithm>) -> AppraiseError {
        let Self { bank, index, quoted, replayed, last_event } = self;
        let (bank, index, quoted, replayed) = (*bank, *index, quoted.clone(), replayed.clone());
        let last_event = LastEvent(*last_event);
        match other {
            Some(other) => AppraiseError::BankNotReplayed { bank, other, index, quoted, replayed, last_event },
            None => AppraiseError::EventLogReplay { bank, index, quoted, replayed, last_event },
        }
    }
}

/// The event at which a replayed PCR has its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEvent(pub Option<u32>);

impl std::fmt::Display for LastEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => write!(f, "its last event is number {number}"),
            None => f.write_str("no event extends it"),
        }
    }
}

/// A replay beside a quote.
struct Comparison<'c> {
    replay: &'c Replay,
    quote: &'c VerifiedQuote,
    /// The log ends before ExitBootServices, so PCR 5 may go on: see [`UNLOGGED_ENDINGS`].
    may_go_on: bool,
}

impl Comparison<'_> {
    /// How a PCR compares; `None` where it is not quoted.
    fn pcr(&self, bank: HashAlgorithm, index: u8) -> Option<Replays> {
        let quoted = self.quote.pcrs().get(&(bank, index))?.as_slice();
        let Some(replayed) = self.replay.value(bank, index) else { return Some(Replays::No) };
        if replayed.as_bytes() == quoted {
            return Some(Replays::Yes);
        }
        let ends_so = |ending: &&[&[u8]]| {
            let mut value = *replayed;
            ending.iter().for_each(|text| value.extend(&bank.digest([*text])));
            value.as_bytes() == quoted
        };
        let goes_on = self.may_go_on && index == EXIT_BOOT_SERVICES_PCR && UNLOGGED_ENDINGS.iter().any(ends_so);
        Some(if goes_on { Replays::WithUnloggedEnding } else { Replays::No })
    }
}

/// How a PCR compares with its quoted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replays {
    Yes,
    /// The log lacks ExitBootServices.
    WithUnloggedEnding,
    No,
}

fn mismatch(comparison: &Comparison<'_>, bank: HashAlgorithm) -> Option<Mismatch> {
    let Comparison { replay, quote, .. } = comparison;
    pcr_indices(BOOT_PCRS).find_map(|index| {
        let quoted = quote.pcrs().get(&(bank, index))?;
        let replayed = replay.value(bank, index).map(PcrValue::as_bytes).unwrap_or_default();
        (comparison.pcr(bank, index)? == Replays::No).then(|| Mismatch {
            bank,
            index,
            quoted: hex::encode(quoted),
            replayed: hex::encode(replayed),
            last_event: replay.last_event(index),
        })
    })
}

/// The quoted PCRs that are equal in every bank that is judged.
fn equal_pcrs(comparison: &Comparison<'_>, banks: &[HashAlgorithm]) -> u32 {
    let equal = |bank: &HashAlgorithm, index: u8| !matches!(comparison.pcr(*bank, index), None | Some(Replays::No));
    pcr_indices(u32::MAX)
        .filter(|index| !banks.is_empty() && banks.iter().all(|bank| equal(bank, *index)))
        .fold(0, |pcrs, index| pcrs | 1 << index)
}

fn note(log: &RawLog<'_>, comparison: &Comparison<'_>, banks: &[HashAlgorithm], pcrs: u32, checks: &mut Checklist) {
    let list = |bitmap: u32| pcr_indices(bitmap).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
    let locality = log.startup_locality().map(|locality| format!(", startup locality {locality}")).unwrap_or_default();
    checks.pass(
        Check::EventLogReplay,
        format!("{} events in {} replay to PCR {}{locality}", log.events().len(), names(banks), list(pcrs)),
    );
    if banks.iter().any(|bank| comparison.pcr(*bank, EXIT_BOOT_SERVICES_PCR) == Some(Replays::WithUnloggedEnding)) {
        checks.not_checked(Check::EventLogReplay, "PCR 5 goes on with ExitBootServices, which the log lacks");
    }
    let quoted = comparison.quote.pcrs().keys().fold(0, |pcrs, (_, index)| pcrs | 1 << index);
    let later = quoted & !pcrs;
    if later != 0 {
        let detail = format!("PCR {}: extended after the boot loader, so its events count for nothing", list(later));
        checks.not_checked(Check::EventLogReplay, detail);
    }
}

fn names(banks: &[HashAlgorithm]) -> String {
    banks.iter().map(|bank| bank.name()).collect::<Vec<_>>().join(", ")
}
