//! What is wrong with a log, where.

use std::fmt;

/// A log that is not one: at which offset, in which event, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogError {
    /// Where in the file: the field that is wrong.
    pub offset: usize,
    /// The event, from 0; `None` before the first.
    pub event: Option<u32>,
    /// What is wrong.
    pub reason: LogFault,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some(event) => write!(f, "event {event} at offset {}: {}", self.offset, self.reason),
            None => write!(f, "at offset {}: {}", self.offset, self.reason),
        }
    }
}

impl std::error::Error for LogError {}

/// What can be wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// There is no event: no log, which is no malformed one.
    #[error("there is no event log: no bytes, or nothing but padding")]
    Empty,
    /// More bytes than the limit.
    #[error("the log has {len} bytes, at most {limit}")]
    TooLong {
        /// How many.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// More events than the limit.
    #[error("more than {limit} events")]
    TooManyEvents {
        /// The limit.
        limit: usize,
    },
    /// The log ends inside an event.
    #[error("{field} needs {needed} bytes, {left} left")]
    Short {
        /// The field, by the specification's name.
        field: &'static str,
        /// How long it is.
        needed: usize,
        /// How many bytes there were.
        left: usize,
    },
    /// No TPM has this PCR.
    #[error("pcrIndex is {pcr}, the highest is {limit}")]
    PcrIndex {
        /// The PCR.
        pcr: u32,
        /// The highest.
        limit: u8,
    },
    /// Data over the limit.
    #[error("eventSize is {size}, at most {limit}")]
    EventSize {
        /// The size that is stated.
        size: u32,
        /// The limit.
        limit: usize,
    },
    /// More digests than algorithms.
    #[error("the event has {count} digests, the Spec ID event declares {declared} algorithms")]
    DigestCount {
        /// How many are stated.
        count: u32,
        /// How many algorithms there are.
        declared: usize,
    },
    /// A digest of an algorithm whose size nobody stated.
    #[error("a digest of algorithm {algorithm:#06x}, which the Spec ID event does not declare")]
    Undeclared {
        /// TPM_ALG_ID.
        algorithm: u16,
    },
    /// Two digests for one bank in one event, or an algorithm that is declared twice.
    #[error("algorithm {algorithm:#06x} is there twice")]
    Duplicate {
        /// TPM_ALG_ID.
        algorithm: u16,
    },
    /// No algorithm, or too many.
    #[error("numberOfAlgorithms is {got}, wanted: 1 to {limit}")]
    AlgorithmCount {
        /// How many are stated.
        got: u32,
        /// The limit.
        limit: usize,
    },
    /// A size that the algorithm's digests don't have.
    #[error("digestSize of algorithm {algorithm:#06x} is {got}, not {wanted}")]
    DigestSize {
        /// TPM_ALG_ID.
        algorithm: u16,
        /// The size that is declared.
        got: u16,
        /// The size that it has.
        wanted: usize,
    },
    /// The Spec ID event goes on after its end.
    #[error("{left} bytes after vendorInfo of the Spec ID event")]
    SpecIdTrailing {
        /// How many.
        left: usize,
    },
    /// A StartupLocality event of another size.
    #[error("the StartupLocality event has {len} bytes, not {wanted}")]
    StartupLocalityLen {
        /// Its size.
        len: usize,
        /// The right one.
        wanted: usize,
    },
    /// A locality in which no TPM starts.
    #[error("StartupLocality is {locality}, wanted: 0, 3 or 4")]
    StartupLocality {
        /// What is stated.
        locality: u8,
    },
    /// A TPM starts once.
    #[error("a second StartupLocality event")]
    StartupLocalityAgain,
    /// PCR 0 had its first value before it was extended.
    #[error("a StartupLocality event after PCR 0 was extended")]
    StartupLocalityLate,
}
