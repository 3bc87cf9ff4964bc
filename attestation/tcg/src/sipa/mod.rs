//! SIPA events of Windows (Windows Boot Configuration Log; Microsoft's `wbcl.h`): what EV_EVENT_TAG events in PCR 11 to 14 hold.
//!
//! Each is `identifier u32, size u32, data`, little-endian; an aggregation holds events again. The digest of the event in the log is
//! over the outermost bytes, so a verified digest covers all of it, save what an identifier marks as not measured.
//! Not here: what a value means for a policy.

mod ids;

pub use ids::SipaEventId;

use crate::uefi::utf16_le;
use crate::{ReadError, Reader};
use ids::Holds;

/// Deepest nesting: Windows uses three levels.
pub const MAX_SIPA_DEPTH: usize = 8;

/// Most events in one event of the log; real ones hold under a hundred.
pub const MAX_SIPA_EVENTS: usize = 4096;

/// Longest text in characters of 16 bits.
const MAX_TEXT: usize = 1 << 15;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipaEvent<'a> {
    /// Which event.
    pub id: SipaEventId,
    /// Its data, of an aggregation too.
    pub data: &'a [u8],
    /// The events of an aggregation, in their order; empty for any other.
    pub events: Vec<SipaEvent<'a>>,
}

/// What an event holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipaValue<'a> {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A text, without its NUL.
    Text(String),
    /// Bytes: of an event whose form is its own, or is not known, or whose data are not of the form that its identifier has.
    Bytes(&'a [u8]),
}

impl<'a> SipaEvent<'a> {
    /// Reads the events that fill `bytes`.
    pub fn parse_all(bytes: &'a [u8]) -> Result<Vec<Self>, ReadError> {
        let mut reader = Reader::new("SIPA events", bytes);
        let mut budget = MAX_SIPA_EVENTS;
        let end = bytes.len();
        read_events(&mut reader, end, MAX_SIPA_DEPTH, &mut budget)
    }

    /// The data in the form that the identifier has.
    pub fn value(&self) -> SipaValue<'a> {
        let value = match (self.id.holds(), self.data) {
            (Holds::Flag, [0]) => Some(SipaValue::Flag(false)),
            (Holds::Flag, [1]) => Some(SipaValue::Flag(true)),
            (Holds::Number | Holds::Flag, data) => number(data).map(SipaValue::Number),
            (Holds::Text, data) => text(data).map(SipaValue::Text),
            (Holds::Bytes | Holds::Events, _) => None,
        };
        value.unwrap_or(SipaValue::Bytes(self.data))
    }

    /// Gives itself and everything in it to `visit`, in the order of the log, with how deep it lies.
    pub fn walk<'e>(&'e self, depth: usize, visit: &mut impl FnMut(&'e SipaEvent<'a>, usize)) {
        visit(self, depth);
        self.events.iter().for_each(|event| event.walk(depth + 1, visit));
    }
}

fn read_events<'a>(
    reader: &mut Reader<'a>,
    end: usize,
    depth: usize,
    budget: &mut usize,
) -> Result<Vec<SipaEvent<'a>>, ReadError> {
    let mut events = Vec::new();
    while reader.offset() < end {
        *budget =
            budget.checked_sub(1).ok_or_else(|| reader.too_many("events", MAX_SIPA_EVENTS + 1, MAX_SIPA_EVENTS))?;
        let left = end.saturating_sub(reader.offset());
        if left < 8 {
            return Err(reader.value("bytes after the last event", u64::try_from(left).unwrap_or(u64::MAX)));
        }
        let id = SipaEventId(reader.u32_le()?);
        let size = reader.length_u32_le("bytes of an event", left.saturating_sub(8))?;
        let mut inner = reader.clone();
        let data = reader.take(size)?;
        let nested = if !id.is_aggregation() {
            Vec::new()
        } else if depth == 0 {
            return Err(inner.too_many("levels of aggregation", MAX_SIPA_DEPTH + 1, MAX_SIPA_DEPTH));
        } else {
            let end = reader.offset();
            read_events(&mut inner, end, depth - 1, budget)?
        };
        events.push(SipaEvent { id, data, events: nested });
    }
    Ok(events)
}

fn number(data: &[u8]) -> Option<u64> {
    match data.len() {
        1 | 2 | 4 | 8 => Some(data.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        _ => None,
    }
}

/// Text ends with a NUL, or with the data.
fn text(data: &[u8]) -> Option<String> {
    let mut text = utf16_le(data, MAX_TEXT).ok()?;
    if text.ends_with('\0') {
        text.pop();
    }
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests;
