//! How logs travel. An event log: its first part in the response, the others in rounds of their own, each asked for by its offset. An
//! IMA list, which the agent reads after the quote: its length in the response, all of it in such rounds.
//!
//! A log within [`MAX_LOG_CHUNK_LEN`] costs no round. The others are asked for only after the quote is verified, so that a stranger can
//! make the server keep one message and no more. What arrives is an event log only once it hashes to what the quoted payload announced. An
//! IMA list is longer than when the payload was made, so nothing announces it: that it replays to the quoted PCR 10 binds it.

use std::fmt;

use plastron_attestation_appraise::{AnnouncedLog, SentLog};
use plastron_attestation_tcg::ima::MAX_IMA_LIST_LEN;

use crate::refused::ExchangeError;
use crate::wire::{Fields, Kind, MAX_LOG_CHUNK_LEN, WireError, Writer};

/// What is sent in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// The firmware's event log.
    EventLog,
    /// The kernel's IMA list.
    ImaList,
}

impl fmt::Display for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventLog => "event log",
            Self::ImaList => "IMA list",
        })
    }
}

/// Server to agent: the part of the log that begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Which log.
    pub log: LogKind,
    /// Bytes from the beginning of the log.
    pub offset: u32,
}

impl LogRequest {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { log, offset } = self;
        let of_ima = (*log == LogKind::ImaList).then_some(&[][..]);
        Writer::new().field(1, &offset.to_be_bytes()).optional(2, of_ima).finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::LOG_REQUEST, bytes)?;
        let field = "the offset";
        let offset = fields.sized(1, field)?.ok_or(WireError::Missing { message: Kind::LOG_REQUEST.name, field })?;
        let log = match fields.sized::<0>(2, "that it is the IMA list's")? {
            Some(_) => LogKind::ImaList,
            None => LogKind::EventLog,
        };
        fields.finish()?;
        Ok(Self { log, offset: u32::from_be_bytes(*offset) })
    }
}

/// Agent to server: a part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The part, as long as it may be.
    pub bytes: Vec<u8>,
}

impl LogChunk {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { bytes } = self;
        Writer::new().field(1, bytes).finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::LOG_CHUNK, bytes)?;
        let part = fields.required(1, "the part")?.to_vec();
        fields.finish()?;
        Ok(Self { bytes: part })
    }
}

/// The part of a log that begins at an offset; `None` where the log ends before.
pub(crate) fn part(log: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = log.get(usize::try_from(offset).ok()?..)?;
    let (part, _) = rest.split_at_checked(MAX_LOG_CHUNK_LEN).unwrap_or((rest, &[]));
    (!part.is_empty()).then_some(part)
}

/// Bytes that are on their way.
#[derive(Debug)]
struct Parts {
    log: LogKind,
    total: usize,
    bytes: Vec<u8>,
}

/// How far they have come.
enum Arrived {
    Part(Parts),
    Whole(Vec<u8>),
}

impl Parts {
    /// Nothing is here. `total` is within the limit of a log.
    fn begin(log: LogKind, total: u32) -> Self {
        Self { log, total: usize::try_from(total).unwrap_or(usize::MAX), bytes: Vec::new() }
    }

    fn request(&self) -> LogRequest {
        // A log of at most 4 MiB: its length fits.
        LogRequest { log: self.log, offset: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) }
    }

    /// Takes the next part, which is exactly as long as it may be: so a log of a given length has one way to travel, in a bounded number
    /// of rounds.
    fn take(mut self, part: &[u8]) -> Result<Arrived, ExchangeError> {
        let (offset, got) = (self.bytes.len(), part.len());
        let wanted = self.total.saturating_sub(offset).min(MAX_LOG_CHUNK_LEN);
        if got != wanted {
            return Err(ExchangeError::LogPart { log: self.log, offset, got, wanted });
        }
        self.bytes.extend_from_slice(part);
        Ok(if self.bytes.len() < self.total { Arrived::Part(self) } else { Arrived::Whole(self.bytes) })
    }
}

/// An event log that is on its way.
#[derive(Debug)]
pub(crate) struct LogAssembly {
    announced: AnnouncedLog,
    parts: Parts,
}

/// How far an event log has come.
#[derive(Debug)]
pub(crate) enum LogProgress {
    /// More is to be asked for.
    Part(LogAssembly),
    /// All of it is here, and it is the one that was announced.
    Whole(SentLog),
}

impl LogAssembly {
    /// Nothing of it is here. The announcement's length is within the limit of a log.
    pub(crate) fn begin(announced: AnnouncedLog) -> Self {
        Self { announced, parts: Parts::begin(LogKind::EventLog, announced.len) }
    }

    /// What has to be asked for next.
    pub(crate) fn request(&self) -> LogRequest {
        self.parts.request()
    }

    /// Takes the next part.
    pub(crate) fn take(self, part: &[u8]) -> Result<LogProgress, ExchangeError> {
        let Self { announced, parts } = self;
        match parts.take(part)? {
            Arrived::Part(parts) => Ok(LogProgress::Part(Self { announced, parts })),
            Arrived::Whole(bytes) => Ok(LogProgress::Whole(SentLog::matching(&announced, bytes)?)),
        }
    }
}

/// An IMA list that is on its way.
#[derive(Debug)]
pub(crate) struct ImaAssembly {
    len: u32,
    parts: Parts,
}

/// How far an IMA list has come.
#[derive(Debug)]
pub(crate) enum ImaProgress {
    /// More is to be asked for.
    Part(ImaAssembly),
    /// All that the agent read is here.
    Whole(Vec<u8>),
}

impl ImaAssembly {
    /// Checks: the list is no longer than one may be. Nothing is asked for, or allocated, before.
    pub(crate) fn begin(len: u32) -> Result<Self, ExchangeError> {
        if usize::try_from(len).is_ok_and(|len| len <= MAX_IMA_LIST_LEN) {
            return Ok(Self { len, parts: Parts::begin(LogKind::ImaList, len) });
        }
        Err(ExchangeError::ImaListTooLong { len, limit: MAX_IMA_LIST_LEN })
    }

    /// Bytes of the whole list.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// What has to be asked for next.
    pub(crate) fn request(&self) -> LogRequest {
        self.parts.request()
    }

    /// Takes the next part.
    pub(crate) fn take(self, part: &[u8]) -> Result<ImaProgress, ExchangeError> {
        let Self { len, parts } = self;
        Ok(match parts.take(part)? {
            Arrived::Part(parts) => ImaProgress::Part(Self { len, parts }),
            Arrived::Whole(bytes) => ImaProgress::Whole(bytes),
        })
    }
}
