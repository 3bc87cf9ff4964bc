//! Pins: endorsement keys that a person vouches for, by the fingerprint of the key.

use crate::{AppraiseError, EkFingerprint};

/// One pinned EK, with its provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkPin {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fingerprint: EkFingerprint,
    /// Who added it.
    pub added_by: String,
    /// When, in Unix seconds.
    pub added_at: u64,
    /// Why, and how the fingerprint was obtained (asset list, console of the machine, first use).
    pub reason: String,
    /// Until when it holds, in Unix seconds; for ever where absent.
    pub expires: Option<u64>,
}

/// Finds the pin of an EK. Answers with its provenance, for the audit.
pub(crate) fn check(fingerprint: EkFingerprint, pins: &[EkPin], pool: &str, now: u64) -> Result<String, AppraiseError> {
    let pin = pins
        .iter()
        .find(|pin| pin.fingerprint == fingerprint)
        .ok_or_else(|| AppraiseError::EkNotPinned { fingerprint, pool: pool.to_owned() })?;
    let EkPin { fingerprint, added_by, added_at, reason, expires } = pin;
    match expires {
        Some(expires) if now > *expires => Err(AppraiseError::EkPinExpired {
            fingerprint: *fingerprint,
            pool: pool.to_owned(),
            expires: *expires,
            now,
        }),
        _ => Ok(format!("pinned by {added_by:?} at {added_at}: {reason:?}")),
    }
}
