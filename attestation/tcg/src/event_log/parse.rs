//! Reading the events of a log, one after the other, to the end or the padding.

use super::cursor::Cursor;
use super::spec_id::{self, Algorithms};
use super::{
    Banks, Digests, EventType, LogError, LogFault, LogFormat, MAX_ALGORITHMS, MAX_EVENT_DATA_LEN, MAX_EVENTS,
    MAX_LOG_LEN, MAX_PCR, NO_PCR, RawEvent, RawLog,
};
use crate::HashAlgorithm;

/// Where Windows means no PCR, in EV_NO_ACTION.
const NO_PCR_ON_THE_WIRE: u32 = u32::MAX;

/// How the data of a StartupLocality event begins (TCG_EfiStartupLocalityEvent, section 10.4.5.3); the locality follows.
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

/// Events for which there is room from the start: most logs have fewer.
const EXPECTED_EVENTS: usize = 128;

pub(super) fn parse(bytes: &[u8]) -> Result<RawLog<'_>, LogError> {
    let mut cursor = Cursor::new(bytes);
    if bytes.len() > MAX_LOG_LEN {
        return Err(cursor.fault(MAX_LOG_LEN, LogFault::TooLong { len: bytes.len(), limit: MAX_LOG_LEN }));
    }
    let content_end = bytes.len() - padding_len(bytes);
    if content_end == 0 {
        return Err(cursor.fault(0, LogFault::Empty));
    }
    // The first event has the old form in both formats, so that it can say which of them follows.
    cursor.begin(0);
    let mut first = sha1_event(&mut cursor, 0)?;
    let declared = if !first.is_extended() && first.data.starts_with(spec_id::SIGNATURE) {
        first.digests = Digests::default();
        Some(Algorithms::parse(cursor.within(first.data))?)
    } else {
        None
    };
    let mut state = StartupState::default();
    state.follow(&first, &cursor)?;
    let mut events = Vec::with_capacity(EXPECTED_EVENTS);
    events.push(first);
    let mut number = 0;
    while cursor.offset() < content_end {
        number += 1;
        cursor.begin(number);
        if events.len() >= MAX_EVENTS {
            return Err(cursor.fault(cursor.offset(), LogFault::TooManyEvents { limit: MAX_EVENTS }));
        }
        let event = match &declared {
            Some(algorithms) => crypto_agile_event(&mut cursor, number, algorithms)?,
            None => sha1_event(&mut cursor, number)?,
        };
        state.follow(&event, &cursor)?;
        events.push(event);
    }
    let (format, banks) = match declared {
        Some(algorithms) => (LogFormat::CryptoAgile, algorithms.banks()),
        None => {
            let mut banks = Banks::none();
            banks.push(HashAlgorithm::Sha1);
            (LogFormat::Sha1, banks)
        }
    };
    Ok(RawLog { bytes, format, banks, startup_locality: state.locality, padding: cursor.left(), events })
}

/// How many equal bytes, 0x00 or 0xff, stand at the end. They are padding from the first event boundary among them on: data of the
/// last event may well end in zeros. Found once, from the end, so that zeros in the middle of a log cost nothing.
fn padding_len(bytes: &[u8]) -> usize {
    match bytes.last() {
        Some(last @ (0 | 0xff)) => bytes.iter().rev().take_while(|byte| *byte == last).count(),
        _ => 0,
    }
}

/// TCG_PCClientPCREvent, section 10.2.1.
fn sha1_event<'a>(cursor: &mut Cursor<'a>, number: u32) -> Result<RawEvent<'a>, LogError> {
    let offset = cursor.offset();
    let (pcr, claimed_type) = pcr_and_type(cursor)?;
    let digest = cursor.take("digest", HashAlgorithm::Sha1.digest_len())?;
    let data = event_data(cursor)?;
    let digests = Digests { sha1: Some(digest), ..Digests::default() };
    Ok(RawEvent { number, offset, pcr, claimed_type, data, digests })
}

/// TCG_PCR_EVENT2, section 10.2.2. Banks may be missing; a digest of an algorithm that is not known is skipped by its declared size.
fn crypto_agile_event<'a>(
    cursor: &mut Cursor<'a>,
    number: u32,
    declared: &Algorithms,
) -> Result<RawEvent<'a>, LogError> {
    let offset = cursor.offset();
    let (pcr, claimed_type) = pcr_and_type(cursor)?;
    let at = cursor.offset();
    let count = cursor.u32("digests.count")?;
    if usize::try_from(count).map_or(true, |count| count > declared.len()) {
        return Err(cursor.fault(at, LogFault::DigestCount { count, declared: declared.len() }));
    }
    let mut digests = Digests::default();
    let mut others = [None; MAX_ALGORITHMS];
    for place in 0..usize::try_from(count).unwrap_or_default() {
        let at = cursor.offset();
        let algorithm = cursor.u16("algorithmId")?;
        let size = declared.size_of(algorithm).ok_or_else(|| cursor.fault(at, LogFault::Undeclared { algorithm }))?;
        let digest = cursor.take("digest", size)?;
        let again = match HashAlgorithm::from_id(algorithm) {
            Some(bank) => digests.replace(bank, digest).is_some(),
            None => {
                let again = others.contains(&Some(algorithm));
                others.get_mut(place).map(|other| other.replace(algorithm));
                again
            }
        };
        if again {
            return Err(cursor.fault(at, LogFault::Duplicate { algorithm }));
        }
    }
    let data = event_data(cursor)?;
    Ok(RawEvent { number, offset, pcr, claimed_type, data, digests })
}

fn pcr_and_type(cursor: &mut Cursor<'_>) -> Result<(u8, EventType), LogError> {
    let at = cursor.offset();
    let pcr = cursor.u32("pcrIndex")?;
    let claimed_type = EventType(cursor.u32("eventType")?);
    if pcr == NO_PCR_ON_THE_WIRE && claimed_type == EventType::NO_ACTION {
        return Ok((NO_PCR, claimed_type));
    }
    match u8::try_from(pcr) {
        Ok(index) if index <= MAX_PCR => Ok((index, claimed_type)),
        _ => Err(cursor.fault(at, LogFault::PcrIndex { pcr, limit: MAX_PCR })),
    }
}

fn event_data<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], LogError> {
    let at = cursor.offset();
    let size = cursor.u32("eventSize")?;
    match usize::try_from(size) {
        Ok(len) if len <= MAX_EVENT_DATA_LEN => cursor.take("event", len),
        _ => Err(cursor.fault(at, LogFault::EventSize { size, limit: MAX_EVENT_DATA_LEN })),
    }
}

/// What is known of the value with which PCR 0 began.
#[derive(Default)]
struct StartupState {
    locality: Option<u8>,
    pcr_0_extended: bool,
}

impl StartupState {
    /// A StartupLocality event names locality 0, 3 or 4, once, before PCR 0 is extended. Any other EV_NO_ACTION, however short, is
    /// none of our business.
    fn follow(&mut self, event: &RawEvent<'_>, cursor: &Cursor<'_>) -> Result<(), LogError> {
        if event.pcr != 0 {
            return Ok(());
        }
        if event.is_extended() {
            self.pcr_0_extended = true;
            return Ok(());
        }
        let Some(locality) = event.data.strip_prefix(STARTUP_LOCALITY) else { return Ok(()) };
        let fault = |reason| Err(cursor.fault(event.offset, reason));
        let wanted = STARTUP_LOCALITY.len() + 1;
        let (locality, padding) = match locality {
            [locality, padding @ ..] => (*locality, padding),
            [] => return fault(LogFault::StartupLocalityLen { len: event.data.len(), wanted }),
        };
        // coreboot fills the event up with zeros.
        if padding.iter().any(|byte| *byte != 0) {
            return fault(LogFault::StartupLocalityLen { len: event.data.len(), wanted });
        }
        if !matches!(locality, 0 | 3 | 4) {
            return fault(LogFault::StartupLocality { locality });
        }
        if self.locality.is_some() {
            return fault(LogFault::StartupLocalityAgain);
        }
        if self.pcr_0_extended {
            return fault(LogFault::StartupLocalityLate);
        }
        self.locality = Some(locality);
        Ok(())
    }
}
