//! What stands behind a fact. A quote covers the digests of events and their order within each PCR, and nothing else of a log: whether
//! a text is what was hashed is a fact's provenance, and only the verified ones can be had without saying so.

use serde::Serialize;

/// What stands behind a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Its text was hashed, under the rule for its event, in every bank of the log (SHA-1 only where it is alone), and each digest matches.
    Verified,
    /// The digest is real; what is said about it is not covered by it.
    DigestOnly,
    /// The text is not what was hashed, or the PCR of the event was not compared with a quote.
    Untrusted,
}

impl Provenance {
    /// `verified`, `digest_only` or `untrusted`: as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::DigestOnly => "digest_only",
            Self::Untrusted => "untrusted",
        }
    }
}

/// A value that a log states, with what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact<T> {
    value: T,
    provenance: Provenance,
    pcr: u8,
    event: u32,
}

/// A fact that a rule must not rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("untrusted fact: event {event} in PCR {pcr} is {}", provenance.name())]
pub struct NotVerified {
    /// What stands behind it.
    pub provenance: Provenance,
    /// The PCR of its event.
    pub pcr: u8,
    /// The number of its event.
    pub event: u32,
}

impl<T> Fact<T> {
    pub(super) fn new(value: T, provenance: Provenance, place: Place) -> Self {
        Self { value, provenance, pcr: place.pcr, event: place.event }
    }

    /// The value, if its text was hashed.
    pub fn verified(&self) -> Result<&T, NotVerified> {
        match self.provenance {
            Provenance::Verified => Ok(&self.value),
            provenance => Err(NotVerified { provenance, pcr: self.pcr, event: self.event }),
        }
    }

    /// The value, whatever stands behind it: for people to read, never for a decision.
    pub fn claimed(&self) -> &T {
        &self.value
    }

    /// What stands behind it.
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The PCR of the event that it is from.
    pub fn pcr(&self) -> u8 {
        self.pcr
    }

    /// The number of the event that it is from.
    pub fn event(&self) -> u32 {
        self.event
    }

    /// The same fact with less behind it, if it had more.
    pub(super) fn at_most(mut self, provenance: Provenance) -> Self {
        self.provenance = self.provenance.max(provenance);
        self
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        let Self { value, provenance, pcr, event } = self;
        Fact { value: change(value), provenance, pcr, event }
    }
}

/// Where in a log a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pcr: u8,
    pub(super) event: u32,
}
