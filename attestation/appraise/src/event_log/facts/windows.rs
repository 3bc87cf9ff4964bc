//! Windows: SIPA events in EV_EVENT_TAG of PCR 11 to 14 (Microsoft's `wbcl.h`; `tcg::sipa`). Windows hashes the whole data, so that what a
//! digest matches is verified with everything in it, apart from what an identifier marks as not measured, which is no fact. What of the
//! same type hashes otherwise is Linux's (`stub`). User space extends these PCRs later.

use plastron_attestation_tcg::event_log::RawEvent;
use plastron_attestation_tcg::sipa::{SipaEvent, SipaValue};
use serde::Serialize;

use super::provenance::Fact;
use super::reading::Reading;
use crate::event_log::finding::FindingKind;

/// PCRs of Windows' boot loader.
const PCRS: std::ops::RangeInclusive<u8> = 11..=14;

/// Most SIPA events of a log that are kept: a machine with 300 drivers has about 3,000.
const MAX_ENTRIES: usize = 16_384;

/// What Windows' boot loader measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Windows {
    /// The SIPA events of each event of the log, in order.
    pub events: Vec<Fact<Vec<SipaEntry>>>,
    #[serde(skip)]
    entries: usize,
}

/// One SIPA event that is no aggregation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SipaEntry {
    /// Its name: `SIPAEVENT_…`.
    pub name: String,
    /// The aggregation that it stands in, by its number in the event, so that what belongs together can be told.
    pub group: usize,
    /// Its value.
    pub value: SipaEntryValue,
}

/// What a SIPA event holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SipaEntryValue {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A text, or bytes in hexadecimal.
    Text(String),
}

/// Reads an EV_EVENT_TAG event if it is of Windows; `false` leaves it to other rules.
pub(super) fn read(event: &RawEvent<'_>, facts: &mut Windows, reading: &mut Reading<'_>) -> bool {
    if !PCRS.contains(&event.pcr) || !reading.hashed(event, &[event.data]) {
        return false;
    }
    let Ok(events) = SipaEvent::parse_all(event.data) else { return false };
    if events.first().is_none_or(|event| event.id.name().is_none()) {
        return false;
    }
    let mut groups = 0;
    let mut entries = Vec::new();
    events.iter().for_each(|event| collect(event, 0, &mut groups, &mut entries));
    facts.entries = facts.entries.saturating_add(entries.len());
    if facts.entries > MAX_ENTRIES {
        let text = format!("windows.events: more than {MAX_ENTRIES} SIPA events");
        reading.find(FindingKind::FactLimit, event, text);
        entries.clear();
    }
    let fact = reading.text(event, entries, true);
    reading.push(&mut facts.events, "windows.events", event, fact);
    true
}

/// The depth is bounded by the parser.
fn collect(event: &SipaEvent<'_>, group: usize, groups: &mut usize, entries: &mut Vec<SipaEntry>) {
    if !event.id.is_measured() {
        return;
    }
    if event.id.is_aggregation() {
        *groups += 1;
        let own = *groups;
        event.events.iter().for_each(|inner| collect(inner, own, groups, entries));
        return;
    }
    let value = match event.value() {
        SipaValue::Flag(flag) => SipaEntryValue::Flag(flag),
        SipaValue::Number(number) => SipaEntryValue::Number(number),
        SipaValue::Text(text) => SipaEntryValue::Text(text),
        SipaValue::Bytes(bytes) => SipaEntryValue::Text(hex::encode(bytes)),
    };
    entries.push(SipaEntry { name: event.id.to_string(), group, value });
}
