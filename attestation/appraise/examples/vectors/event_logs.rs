//! The rows of event logs: what each expectation asks for, in the words of the index.

use std::collections::BTreeMap;
use std::error::Error;

use plastron_attestation_appraise::Check;
use plastron_attestation_appraise::event_log::facts::{Fact, Provenance};
use plastron_attestation_appraise::event_log::{Facts, FindingKind, Replay};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{LogFault, RawLog};

use crate::machine::Machine;
use crate::{Index, Outcome, Row};

type Failure = Box<dyn Error>;

/// PCR values by bank and PCR.
type Pcrs = BTreeMap<(HashAlgorithm, u8), Vec<u8>>;

/// Judges one log. An expectation that is not among these is a failure.
pub(crate) fn judge(index: &Index, row: &Row, bytes: &[u8]) -> Outcome {
    match row.expected.as_str() {
        "empty: no log" => no_log(bytes),
        expected if expected.ends_with(": malformed") || expected.ends_with(": malformed, no allocation") => {
            malformed(bytes)
        }
        "replays to these PCRs" => replays(bytes, row),
        "SHA-1 bank only: refuse by default; replays to these PCRs" => {
            let outcome = replays(bytes, row)?;
            refused(bytes, bytes, Check::EventLogBanks)?;
            Ok(format!("{outcome}; refused by default: SHA-1 only"))
        }
        "replays to these PCRs (systemd-boot with a unified kernel image)" => {
            // These logs were made without a platform key, with Secure Boot on and off.
            let facts = Facts::read(&parse(bytes)?);
            let enabled = facts.secure_boot.enabled.as_ref().and_then(|fact| *fact.claimed());
            let kind = if enabled == Some(true) { FindingKind::SecureBootWithoutPk } else { FindingKind::SetupMode };
            Ok(format!("{}, and a finding is {}{}", replays(bytes, row)?, kind.name(), found(&facts, kind)?))
        }
        "replays; secure_boot text must be untrusted" => {
            let facts = Facts::read(&parse(bytes)?);
            untrusted(&facts, facts.secure_boot.enabled.as_ref())?;
            Ok(format!("{}, and secure_boot.enabled is untrusted", replays(bytes, row)?))
        }
        "replays; kernel command line text must be untrusted" => {
            let facts = Facts::read(&parse(bytes)?);
            untrusted(&facts, facts.kernel.cmdline.as_ref())?;
            Ok(format!("{}, and kernel.cmdline is untrusted", replays(bytes, row)?))
        }
        "UEFI variable name length huge: event data malformed, digest still replays" => {
            let (parent, _) = index.parent(row)?;
            let event = found(&Facts::read(&parse(bytes)?), FindingKind::MalformedData)?;
            Ok(format!("{}, and a finding says that the data is malformed{event}", replays(bytes, parent)?))
        }
        "boot application after ExitBootServices: refuse" => {
            let event = found(&Facts::read(&parse(bytes)?), FindingKind::Check(Check::LateBootApplication))?;
            refused(bytes, bytes, Check::LateBootApplication)?;
            Ok(format!("replays, and is refused for it{event}"))
        }
        "zero padding: accept" => {
            let padding = parse(bytes)?.padding();
            if padding == 0 {
                return Err("no padding was seen".into());
            }
            Ok(format!("{}, before {padding} bytes of padding", replays(bytes, row)?))
        }
        "cut at an event boundary: parses, a PCR must not match" => {
            let (parent, whole) = index.parent(row)?;
            let (cut, uncut) = (replayed(bytes)?, pcrs_of(parent)?);
            let differ: Vec<_> =
                uncut.iter().filter(|(pcr, value)| cut.get(pcr) != Some(value)).map(|(pcr, _)| pcr).collect();
            if differ.is_empty() {
                return Err("every PCR matches".into());
            }
            refused(&whole, bytes, Check::EventLogReplay)?;
            Ok(format!("parses; {} PCR values differ, and a quote of the whole boot refuses it", differ.len()))
        }
        _ => Err("no rule for this expectation".into()),
    }
}

fn parse(bytes: &[u8]) -> Result<RawLog<'_>, Failure> {
    Ok(RawLog::parse(bytes)?)
}

fn no_log(bytes: &[u8]) -> Outcome {
    match RawLog::parse(bytes) {
        Err(error) if error.reason == LogFault::Empty => Ok("no log".to_owned()),
        Err(error) => Err(format!("malformed, not missing: {error}").into()),
        Ok(log) => Err(format!("{} events were read", log.events().len()).into()),
    }
}

fn malformed(bytes: &[u8]) -> Outcome {
    match RawLog::parse(bytes) {
        Err(error) if error.reason == LogFault::Empty => Err("taken for no log".into()),
        Err(error) => Ok(format!("malformed: {error}")),
        Ok(log) => Err(format!("{} events were read", log.events().len()).into()),
    }
}

/// The log leads to these PCR values and touches no other PCR, in every bank that it has in every event.
fn replays(bytes: &[u8], row: &Row) -> Outcome {
    let (got, wanted) = (replayed(bytes)?, pcrs_of(row)?);
    if got == wanted {
        let log = parse(bytes)?;
        return Ok(format!("{} events replay to {} PCR values", log.events().len(), got.len()));
    }
    let differ = got.keys().chain(wanted.keys()).find(|pcr| got.get(pcr) != wanted.get(pcr));
    match differ {
        Some((bank, pcr)) => Err(format!("PCR {pcr} of bank {bank} differs").into()),
        None => Err("the PCR values differ".into()),
    }
}

fn replayed(bytes: &[u8]) -> Result<Pcrs, Failure> {
    let replay = Replay::of(&parse(bytes)?);
    let mut pcrs = Pcrs::new();
    for bank in replay.banks().filter(|bank| replay.event_without_digest(*bank).is_none()) {
        for index in replay.pcrs() {
            let value = replay.value(bank, index).ok_or("a PCR without a value")?;
            pcrs.insert((bank, index), value.as_bytes().to_vec());
        }
    }
    Ok(pcrs)
}

/// `sha1:0=…,7=…;sha256:0=…`
fn pcrs_of(row: &Row) -> Result<Pcrs, Failure> {
    let mut pcrs = Pcrs::new();
    for bank in row.pcrs.split(';').filter(|bank| !bank.is_empty()) {
        let (name, values) = bank.split_once(':').ok_or("a bank without a name")?;
        let bank = HashAlgorithm::from_name(name).ok_or("an unknown bank")?;
        for value in values.split(',') {
            let (index, value) = value.split_once('=').ok_or("a PCR without a value")?;
            pcrs.insert((bank, index.parse()?), hex::decode(value)?);
        }
    }
    Ok(pcrs)
}

/// A machine whose TPM was extended as `booted` says shows `shown`, and an appraisal by default policy refuses it by this check.
fn refused(booted: &[u8], shown: &[u8], check: Check) -> Result<(), Failure> {
    match Machine::booted(&parse(booted)?)?.judge(shown) {
        Err(error) if error.check() == check => Ok(()),
        Err(error) => Err(format!("refused by {}, not {check}: {error}", error.check()).into()),
        Ok(()) => Err("accepted".into()),
    }
}

/// Where something of this kind was found.
fn found(facts: &Facts, kind: FindingKind) -> Result<String, Failure> {
    let finding = facts.findings.iter().find(|finding| finding.kind == kind);
    let finding = finding.ok_or_else(|| format!("no finding of kind {}", kind.name()))?;
    Ok(finding.event.map(|event| format!(" (event {event})")).unwrap_or_default())
}

/// A fact that is there, whose text is not what was hashed, and a finding that says so.
fn untrusted<T>(facts: &Facts, fact: Option<&Fact<T>>) -> Result<(), Failure> {
    let fact = fact.ok_or("the fact is not there")?;
    if fact.provenance() != Provenance::Untrusted || fact.verified().is_ok() {
        return Err(format!("the fact is {}", fact.provenance().name()).into());
    }
    let told = facts.findings.iter().any(|finding| finding.event == Some(fact.event()));
    if told { Ok(()) } else { Err("no finding is about the event of the fact".into()) }
}
