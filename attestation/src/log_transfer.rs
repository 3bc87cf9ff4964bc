//! How an event log travels: its first part in the response, the others in rounds of their own, each asked for by its offset.
//!
//! A log within [`MAX_LOG_CHUNK_LEN`] costs no round. The others are asked for only after the quote is verified, so that a stranger can
//! make the server keep one message and no more. What arrives is a log only once it hashes to what the quoted payload announced.

use plastron_attestation_appraise::{AnnouncedLog, SentLog};

use crate::refused::ExchangeError;
use crate::wire::{Fields, Kind, MAX_LOG_CHUNK_LEN, WireError, Writer};

/// Server to agent: the part of the log that begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Bytes from the beginning of the log.
    pub offset: u32,
}

impl LogRequest {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let Self { offset } = self;
        Writer::new().field(1, &offset.to_be_bytes()).finish()
    }

    /// Reads bytes that arrived.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::read(Kind::LOG_REQUEST, bytes)?;
        let field = "the offset";
        let offset = fields.sized(1, field)?.ok_or(WireError::Missing { message: Kind::LOG_REQUEST.name, field })?;
        fields.finish()?;
        Ok(Self { offset: u32::from_be_bytes(*offset) })
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

/// A log that is on its way.
#[derive(Debug)]
pub(crate) struct LogAssembly {
    announced: AnnouncedLog,
    bytes: Vec<u8>,
}

/// How far a log has come.
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
        Self { announced, bytes: Vec::new() }
    }

    /// What has to be asked for next.
    pub(crate) fn request(&self) -> LogRequest {
        // A log of at most 4 MiB: its length fits.
        LogRequest { offset: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) }
    }

    /// Takes the next part, which is exactly as long as it may be: so a log of a given length has one way to travel, in a bounded number
    /// of rounds.
    pub(crate) fn take(mut self, part: &[u8]) -> Result<LogProgress, ExchangeError> {
        let total = usize::try_from(self.announced.len).unwrap_or(usize::MAX);
        let (offset, got) = (self.bytes.len(), part.len());
        let wanted = total.saturating_sub(offset).min(MAX_LOG_CHUNK_LEN);
        if got != wanted {
            return Err(ExchangeError::LogPart { offset, got, wanted });
        }
        self.bytes.extend_from_slice(part);
        if self.bytes.len() < total {
            return Ok(LogProgress::Part(self));
        }
        let log = SentLog::matching(&self.announced, self.bytes)?;
        Ok(LogProgress::Whole(log))
    }
}
