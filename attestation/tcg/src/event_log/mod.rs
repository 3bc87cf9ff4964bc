//! The event log of firmware and boot loaders, read from bytes (TCG PC Client Platform Firmware Profile 1.06, section 10): both
//! the SHA-1 format (TCG_PCClientPCREvent) and the crypto-agile one (TCG_PCR_EVENT2 after a Spec ID event).
//!
//! Types and texts of events are the node's words; only digests and their order can be compared with a quote. Not here: replaying
//! them, what an event means, and whether its data is what was hashed.

mod cursor;
mod error;
mod event_type;
mod parse;
mod spec_id;

pub use error::{LogError, LogFault};
pub use event_type::EventType;

use crate::HashAlgorithm;

/// Longest log: the largest of a real machine that is known has 72,817 bytes, and logs that user space appends to stay below this.
pub const MAX_LOG_LEN: usize = 4 << 20;

/// Most events of a log. GRUB writes a few hundred.
pub const MAX_EVENTS: usize = 8192;

/// Most algorithms that a Spec ID event declares: TPMs have at most 5 banks.
pub const MAX_ALGORITHMS: usize = 8;

/// Longest data of an event: the dbx of Secure Boot has some 24 KiB and grows.
pub const MAX_EVENT_DATA_LEN: usize = 1 << 20;

/// Highest PCR of a PC Client TPM.
pub const MAX_PCR: u8 = 23;

/// [`RawEvent::pcr`] of events that name PCR 0xffffffff: Windows writes EV_NO_ACTION so where no PCR is meant.
pub const NO_PCR: u8 = 0xff;

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// TCG_PCClientPCREvent: one SHA-1 digest in each event.
    Sha1,
    /// TCG_PCR_EVENT2 after a Spec ID event, with a digest for each bank.
    CryptoAgile,
}

impl LogFormat {
    /// `sha1` or `crypto_agile`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::CryptoAgile => "crypto_agile",
        }
    }
}

/// A log whose form is right. What it says is not proven: see [`RawEvent`].
#[derive(Clone, Debug)]
pub struct RawLog<'a> {
    bytes: &'a [u8],
    format: LogFormat,
    banks: Banks,
    startup_locality: Option<u8>,
    padding: usize,
    events: Vec<RawEvent<'a>>,
}

impl<'a> RawLog<'a> {
    /// Reads a log. Its bytes are borrowed; the list of events is the only allocation. Bytes 0x00 or 0xff that fill the end are
    /// padding. Empty input, or nothing but padding, is [`LogFault::Empty`]: there is no log, which is not the same as a bad one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogError> {
        parse::parse(bytes)
    }

    /// The bytes that were read, padding included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its form.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// The banks in which it has digests: those of the algorithms that its Spec ID event declares and that are known here, in its
    /// order; SHA-1 in the old format.
    pub fn banks(&self) -> &[HashAlgorithm] {
        self.banks.as_slice()
    }

    /// The locality of TPM2_Startup (0, 3 or 4), where the log states it: PCR 0 began with this value.
    pub fn startup_locality(&self) -> Option<u8> {
        self.startup_locality
    }

    /// How many bytes at the end are padding.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Every event in the order of the file, the Spec ID event included.
    pub fn events(&self) -> &[RawEvent<'a>] {
        &self.events
    }
}

/// One event: what the node says that it measured.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Place in the file, from 0.
    pub number: u32,
    /// Where in the file it begins.
    pub offset: usize,
    /// The PCR, 0 to 23, or [`NO_PCR`].
    pub pcr: u8,
    /// eventType. No digest covers it.
    pub claimed_type: EventType,
    /// The event's data. A digest covers it only where the rule for its kind says so and the digest agrees.
    pub data: &'a [u8],
    digests: Digests<'a>,
}

impl<'a> RawEvent<'a> {
    /// The digest with which the PCR was extended in this bank, as long as the bank's digests; `None` where the event has none.
    pub fn digest(&self, bank: HashAlgorithm) -> Option<&'a [u8]> {
        self.digests.get(bank)
    }

    /// Whether it stands for an extension of its PCR: EV_NO_ACTION never does.
    pub fn is_extended(&self) -> bool {
        self.claimed_type != EventType::NO_ACTION
    }
}

/// The digests of one event, by bank.
#[derive(Clone, Copy, Debug, Default)]
struct Digests<'a> {
    sha1: Option<&'a [u8]>,
    sha256: Option<&'a [u8]>,
    sha384: Option<&'a [u8]>,
    sha512: Option<&'a [u8]>,
}

impl<'a> Digests<'a> {
    fn get(&self, bank: HashAlgorithm) -> Option<&'a [u8]> {
        match bank {
            HashAlgorithm::Sha1 => self.sha1,
            HashAlgorithm::Sha256 => self.sha256,
            HashAlgorithm::Sha384 => self.sha384,
            HashAlgorithm::Sha512 => self.sha512,
        }
    }

    /// Puts in a digest, and gives back the one that was there.
    fn replace(&mut self, bank: HashAlgorithm, digest: &'a [u8]) -> Option<&'a [u8]> {
        match bank {
            HashAlgorithm::Sha1 => self.sha1.replace(digest),
            HashAlgorithm::Sha256 => self.sha256.replace(digest),
            HashAlgorithm::Sha384 => self.sha384.replace(digest),
            HashAlgorithm::Sha512 => self.sha512.replace(digest),
        }
    }
}

/// Distinct banks, in order, without an allocation.
#[derive(Clone, Debug)]
struct Banks {
    list: [HashAlgorithm; HashAlgorithm::ALL.len()],
    len: usize,
}

impl Banks {
    fn none() -> Self {
        Self { list: HashAlgorithm::ALL, len: 0 }
    }

    fn push(&mut self, bank: HashAlgorithm) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = bank;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[HashAlgorithm] {
        self.list.get(..self.len).unwrap_or_default()
    }
}
