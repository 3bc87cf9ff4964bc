//! A firmware event log as it came from the node: bytes that hash to what the payload announced, and nothing more.
//!
//! The payload is in the quote's extraData, so the announcement is signed; that the log is the boot's, only its replay against the
//! quoted PCRs shows (`event_log`).

use std::sync::Arc;

use plastron_attestation_tcg::HashAlgorithm;

use crate::AppraiseError;

/// Longest event log. The largest real one that is known has 72,817 bytes; kernels allow themselves some megabytes.
pub const MAX_EVENT_LOG_LEN: usize = 4 * 1024 * 1024;

/// What a payload says of the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedLog {
    /// SHA-256 of the log as the kernel shows it.
    pub sha256: [u8; 32],
    /// Its length in bytes; not 0.
    pub len: u32,
}

impl AnnouncedLog {
    /// What a payload has to say of this log; `None` for an empty one, which is none.
    pub fn of(log: &[u8]) -> Option<Self> {
        let len = u32::try_from(log.len()).ok().filter(|len| *len != 0)?;
        Some(Self { sha256: sha256(log)?, len })
    }

    /// Checks: its length is within [`MAX_EVENT_LOG_LEN`]. Nothing is asked for, or allocated, before.
    pub fn check_len(&self) -> Result<(), AppraiseError> {
        if usize::try_from(self.len).is_ok_and(|len| len <= MAX_EVENT_LOG_LEN) {
            return Ok(());
        }
        Err(AppraiseError::EventLogTooLong { len: self.len, limit: MAX_EVENT_LOG_LEN })
    }
}

/// A log that is the one which was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentLog {
    sha256: [u8; 32],
    bytes: Arc<[u8]>,
}

impl SentLog {
    /// Checks, in order: length and SHA-256 are those that the payload announced.
    pub fn matching(announced: &AnnouncedLog, bytes: Vec<u8>) -> Result<Self, AppraiseError> {
        let differs = |got| AppraiseError::EventLogDigest { got, wanted: hex::encode(announced.sha256) };
        if u32::try_from(bytes.len()) != Ok(announced.len) {
            return Err(differs(format!("that of {} bytes, not {}", bytes.len(), announced.len)));
        }
        match sha256(&bytes) {
            Some(sha256) if sha256 == announced.sha256 => Ok(Self { sha256, bytes: Arc::from(bytes) }),
            other => Err(differs(other.map(hex::encode).unwrap_or_default())),
        }
    }

    /// Its SHA-256, by which it is stored once.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The log.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
    HashAlgorithm::Sha256.digest([bytes]).try_into().ok()
}
