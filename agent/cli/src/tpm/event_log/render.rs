//! A log as tables for people, and as JSON for programs. Everything that stands in it is escaped.

use std::fmt::Write;
use std::path::Path;

use plastron_attestation_appraise::event_log::{Facts, Finding, Replay};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{MAX_PCR, NO_PCR, RawEvent, RawLog};
use serde_json::{Map, Value, json};

use crate::error::CliError;

/// Width of the longest name of an event's type.
const TYPE_WIDTH: usize = 32;

/// Lists of facts up to this length are shown whole; of longer ones, such as dbx, the beginning.
const MAX_SHOWN: usize = 24;
const SHOWN_OF_MORE: usize = 8;

/// What a log says, read once.
struct Reading<'a, 'b> {
    log: &'b RawLog<'a>,
    replay: Replay,
    facts: Facts,
}

impl<'a, 'b> Reading<'a, 'b> {
    fn of(log: &'b RawLog<'a>) -> Self {
        Self { log, replay: Replay::of(log), facts: Facts::read(log) }
    }

    /// Banks whose values the log tells: every event that extends a PCR has a digest for them.
    fn whole_banks(&self) -> impl Iterator<Item = HashAlgorithm> {
        self.replay.banks().filter(|bank| self.replay.event_without_digest(*bank).is_none())
    }

    fn provenance(&self, event: &RawEvent<'_>) -> Option<&'static str> {
        event.is_extended().then(|| self.facts.provenance(event.number).map(|provenance| provenance.name())).flatten()
    }

    fn value(&self, bank: HashAlgorithm, pcr: u8) -> String {
        self.replay.value(bank, pcr).map(|value| hex::encode(value.as_bytes())).unwrap_or_default()
    }
}

/// `{"pcrs": {BANK: {PCR: HEX}}, "events": [...], "facts": {...}, "findings": [{"check", "event", "text"}]}`, with the PCRs that events
/// extend, in the banks that the log tells whole.
pub(super) fn json(log: &RawLog<'_>) -> Result<Value, CliError> {
    let reading = Reading::of(log);
    let pcrs = |bank| {
        let values = reading.replay.pcrs().map(|pcr| (pcr.to_string(), json!(reading.value(bank, pcr))));
        (bank.name().to_owned(), Value::Object(values.collect()))
    };
    let pcrs: Map<_, _> = reading.whole_banks().map(pcrs).collect();
    let events: Vec<_> = log.events().iter().map(|event| event_json(&reading, event)).collect();
    let facts = serde_json::to_value(&reading.facts).map_err(CliError::Facts)?;
    let findings = serde_json::to_value(&reading.facts.findings).map_err(CliError::Facts)?;
    Ok(json!({ "pcrs": pcrs, "events": events, "facts": facts, "findings": findings }))
}

fn event_json(reading: &Reading<'_, '_>, event: &RawEvent<'_>) -> Value {
    let banks = reading.log.banks().iter();
    let digests = banks.filter_map(|bank| Some((bank.name().to_owned(), json!(hex::encode(event.digest(*bank)?)))));
    json!({
        "number": event.number,
        "offset": event.offset,
        "pcr": (event.pcr != NO_PCR).then_some(event.pcr),
        "type": event.claimed_type.to_string(),
        "extended": event.is_extended(),
        "provenance": reading.provenance(event),
        "text": Facts::text(event),
        "digests": digests.collect::<Map<_, _>>(),
        "data": hex::encode(event.data),
    })
}

/// A heading, a table for each PCR with its values, the facts, and what is suspicious.
pub(super) fn text(file: &Path, log: &RawLog<'_>) -> String {
    let reading = Reading::of(log);
    let mut text = String::new();
    // Writing to a String does not fail, here and below.
    let _ = write_head(&mut text, file, &reading);
    for pcr in (0..=MAX_PCR).chain([NO_PCR]) {
        let _ = write_pcr(&mut text, pcr, &reading);
    }
    let _ = write_facts(&mut text, &reading.facts);
    let _ = write_findings(&mut text, &reading);
    text
}

fn write_head(text: &mut String, file: &Path, reading: &Reading<'_, '_>) -> std::fmt::Result {
    let log = reading.log;
    let banks: Vec<_> = log.banks().iter().map(|bank| bank.name()).collect();
    writeln!(text, "Event log         : {}", file.display().to_string().escape_debug())?;
    writeln!(text, "Format            : {}, {} bytes", log.format().name(), log.bytes().len())?;
    writeln!(text, "Events            : {}", log.events().len())?;
    writeln!(text, "Banks             : {}", banks.join(", "))?;
    if let Some(locality) = log.startup_locality() {
        writeln!(text, "Startup locality  : {locality}")?;
    }
    if log.padding() > 0 {
        writeln!(text, "Padding           : {} bytes", log.padding())?;
    }
    writeln!(text, "Proven            : nothing, because no quote was compared")
}

fn write_pcr(text: &mut String, pcr: u8, reading: &Reading<'_, '_>) -> std::fmt::Result {
    let mut events = reading.log.events().iter().filter(|event| event.pcr == pcr).peekable();
    if events.peek().is_none() {
        return Ok(());
    }
    match pcr {
        NO_PCR => writeln!(text, "\nNo PCR")?,
        _ => writeln!(text, "\nPCR {pcr}")?,
    }
    writeln!(text, "  {:>5}  {:TYPE_WIDTH$}  {:12}  text", "event", "type", "provenance")?;
    for event in events {
        let provenance = reading.provenance(event).unwrap_or("not extended");
        let (number, claimed_type) = (event.number, event.claimed_type);
        writeln!(text, "  {number:>5}  {claimed_type:TYPE_WIDTH$}  {provenance:12}  {}", Facts::text(event))?;
    }
    if reading.replay.last_event(pcr).is_none() {
        return Ok(());
    }
    for bank in reading.replay.banks() {
        match reading.replay.event_without_digest(bank) {
            None => writeln!(text, "  {:6} {}", bank.name(), reading.value(bank, pcr))?,
            Some(event) => writeln!(text, "  {:6} unknown: event {event} has no digest for this bank", bank.name())?,
        }
    }
    Ok(())
}

/// One line for each value, by its path in what `-output json` shows, with what stands behind it.
fn write_facts(text: &mut String, facts: &Facts) -> std::fmt::Result {
    writeln!(text, "\nFacts")?;
    match serde_json::to_value(facts) {
        Ok(facts) => write_value(text, "", &facts, ""),
        Err(error) => writeln!(text, "  unreadable: {}", error.to_string().escape_debug()),
    }
}

fn write_value(text: &mut String, path: &str, value: &Value, behind: &str) -> std::fmt::Result {
    match value {
        Value::Object(members) => match (members.get("value"), members.get("provenance"), members.get("event")) {
            (Some(value), Some(Value::String(provenance)), Some(event)) => {
                write_value(text, path, value, &format!("  ({provenance}, event {event})"))
            }
            _ => members.iter().try_for_each(|(name, member)| {
                let separator = if path.is_empty() { "" } else { "." };
                write_value(text, &format!("{path}{separator}{}", name.escape_debug()), member, behind)
            }),
        },
        Value::Array(elements) => {
            let shown = if elements.len() > MAX_SHOWN { SHOWN_OF_MORE } else { elements.len() };
            for (number, element) in elements.iter().take(shown).enumerate() {
                write_value(text, &format!("{path}[{number}]"), element, behind)?;
            }
            match elements.len() - shown {
                0 => Ok(()),
                more => writeln!(text, "  {path}: {more} more, which -output json shows"),
            }
        }
        Value::Null => Ok(()),
        // What JSON leaves as it is can still drive a terminal.
        Value::String(string) => writeln!(text, "  {path} = {string:?}{behind}"),
        other => writeln!(text, "  {path} = {other}{behind}"),
    }
}

fn write_findings(text: &mut String, reading: &Reading<'_, '_>) -> std::fmt::Result {
    let findings: &[Finding] = &reading.facts.findings;
    if findings.is_empty() {
        return writeln!(text, "\nFindings: none");
    }
    writeln!(text, "\nFindings")?;
    findings.iter().try_for_each(|finding| writeln!(text, "  {}: {finding}", finding.kind.name()))
}
