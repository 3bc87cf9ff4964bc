//! What every rule needs while a log is read: its banks, which PCRs stand for something, and where findings go.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, RawEvent};

use super::hashed;
use super::provenance::{Fact, Place, Provenance};
use super::text;
use crate::event_log::finding::{Finding, FindingKind};

/// Most entries of one list of facts: GRUB runs a few hundred commands, dbx forbids some 400 images.
pub(super) const MAX_FACTS: usize = 2048;

/// The PCRs whose log was compared with a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcrSet(u32);

impl PcrSet {
    /// All of them: for a log that is read on its own word.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// Those that are named.
    pub(crate) fn of(pcrs: impl IntoIterator<Item = u8>) -> Self {
        Self(pcrs.into_iter().fold(0, |set, pcr| set | 1u32.checked_shl(pcr.into()).unwrap_or(0)))
    }

    /// Whether it has this one.
    pub(crate) fn contains(self, pcr: u8) -> bool {
        self.0 & 1u32.checked_shl(pcr.into()).unwrap_or(0) != 0
    }
}

/// One pass over a log.
pub(super) struct Reading<'l> {
    banks: &'l [HashAlgorithm],
    /// The most that can stand behind the event being read.
    ceiling: Provenance,
    /// Lists of which not all is kept.
    full: Vec<&'static str>,
    findings: Vec<Finding>,
    provenances: Vec<(u32, Provenance)>,
}

impl<'l> Reading<'l> {
    pub(super) fn new(banks: &'l [HashAlgorithm], events: usize) -> Self {
        let ceiling = Provenance::Verified;
        Self { banks, ceiling, full: Vec::new(), findings: Vec::new(), provenances: Vec::with_capacity(events) }
    }

    /// Goes on to the next event, behind which no more than this can stand.
    pub(super) fn begin(&mut self, ceiling: Provenance) {
        self.ceiling = ceiling;
    }

    /// The banks of the log.
    pub(super) fn banks(&self) -> &'l [HashAlgorithm] {
        self.banks
    }

    /// Whether these bytes were hashed, in every bank (`hashed`).
    pub(super) fn hashed(&self, event: &RawEvent<'_>, parts: &[&[u8]]) -> bool {
        hashed::matches(event, self.banks, parts)
    }

    /// A text that is, or should be, what was hashed. One that is not is a finding.
    pub(super) fn text<T>(&mut self, event: &RawEvent<'_>, value: T, is_hashed: bool) -> Fact<T> {
        if !is_hashed {
            self.untrusted_text(event);
        }
        self.fact(event, value, if is_hashed { Provenance::Verified } else { Provenance::Untrusted })
    }

    /// What is said about a digest that is of something else.
    pub(super) fn label<T>(&mut self, event: &RawEvent<'_>, value: T) -> Fact<T> {
        self.fact(event, value, Provenance::DigestOnly)
    }

    /// What is said about a digest, verified where it happens to be what was hashed.
    pub(super) fn text_or_label<T>(&mut self, event: &RawEvent<'_>, value: T, is_hashed: bool) -> Fact<T> {
        self.fact(event, value, if is_hashed { Provenance::Verified } else { Provenance::DigestOnly })
    }

    /// Notes that an event without a fact of its own was read.
    pub(super) fn note(&mut self, event: &RawEvent<'_>, provenance: Provenance) {
        self.fact(event, (), provenance);
    }

    fn fact<T>(&mut self, event: &RawEvent<'_>, value: T, provenance: Provenance) -> Fact<T> {
        let provenance = provenance.max(self.ceiling);
        self.provenances.push((event.number, provenance));
        Fact::new(value, provenance, Place { pcr: event.pcr, event: event.number })
    }

    /// Reports something odd about an event.
    pub(super) fn find(&mut self, kind: FindingKind, event: &RawEvent<'_>, text: impl Into<String>) {
        self.findings.push(Finding { kind, pcr: Some(event.pcr), event: Some(event.number), text: text.into() });
    }

    /// Reports something odd about the event that a fact is from.
    pub(super) fn find_in<T>(&mut self, kind: FindingKind, fact: Option<&Fact<T>>, text: impl Into<String>) {
        let (pcr, event) = (fact.map(Fact::pcr), fact.map(Fact::event));
        self.findings.push(Finding { kind, pcr, event, text: text.into() });
    }

    /// Reports that something is missing from a PCR.
    pub(super) fn miss(&mut self, kind: FindingKind, pcr: u8, text: impl Into<String>) {
        self.find_at(kind, pcr, None, text);
    }

    /// Reports something odd that shows once everything is read.
    pub(super) fn find_at(&mut self, kind: FindingKind, pcr: u8, event: Option<u32>, text: impl Into<String>) {
        self.findings.push(Finding { kind, pcr: Some(pcr), event, text: text.into() });
    }

    /// Adds to a list, up to its limit.
    pub(super) fn push<T>(&mut self, list: &mut Vec<T>, what: &'static str, event: &RawEvent<'_>, item: T) {
        if list.len() < MAX_FACTS {
            list.push(item);
        } else if !self.full.contains(&what) {
            self.full.push(what);
            self.find(FindingKind::FactLimit, event, format!("{what}: more than {MAX_FACTS}, the rest is not read"));
        }
    }

    fn untrusted_text(&mut self, event: &RawEvent<'_>) {
        let text = format!(
            "the data of this {} event in PCR {} is not what was hashed: {}",
            event.claimed_type,
            event.pcr,
            text::of(event)
        );
        self.find(FindingKind::UntrustedText, event, text);
    }

    /// Reports that the data of an event is not of its form.
    pub(super) fn malformed(&mut self, event: &RawEvent<'_>, error: &dyn std::error::Error) {
        self.find(FindingKind::MalformedData, event, format!("data of this {} event: {error}", event.claimed_type));
    }

    /// What was found, and what stands behind each event.
    pub(super) fn into_parts(self) -> (Vec<Finding>, Vec<(u32, Provenance)>) {
        (self.findings, self.provenances)
    }
}

/// The beginning of an event's data, for people: text where it is text, else hexadecimal.
pub(super) fn excerpt(data: &[u8]) -> String {
    const SHOWN: usize = 96;
    let shown = data.get(..SHOWN).unwrap_or(data);
    let dots = if shown.len() < data.len() { "…" } else { "" };
    let text = shown.strip_suffix(b"\0").unwrap_or(shown);
    match std::str::from_utf8(text) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => format!("{text:?}{dots}"),
        _ => format!("{}{dots}", hex::encode(shown)),
    }
}

/// Whether user space chooses what firmware will measure into the PCR of this event at the next boot: PCR 1 has the values of boot variables,
/// and what it writes into one can be shown as an event of any other type.
pub(super) fn is_open_to_user_space(event: &RawEvent<'_>) -> bool {
    event.pcr == 1
}

/// Whether a type has the name that the specification gives it.
pub(super) fn is_known(event_type: EventType) -> bool {
    event_type.name().is_some() && event_type != EventType::UNUSED
}
