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
    /// Why.
    pub reason: String,
    /// How the fingerprint was obtained: asset list, console of the machine, first use. Empty where nobody said.
    pub obtained: String,
    /// Until when it holds, in Unix seconds; for ever where absent.
    pub expires: Option<u64>,
}

/// Finds the pin of an EK that has not expired. `pins` are in the order of their fingerprints, as `Pool` keeps them.
pub(crate) fn check<'a>(
    fingerprint: EkFingerprint,
    pins: &'a [EkPin],
    pool: &str,
    now: u64,
) -> Result<&'a EkPin, AppraiseError> {
    let pin = pins
        .binary_search_by_key(&fingerprint, |pin| pin.fingerprint)
        .ok()
        .and_then(|at| pins.get(at))
        .ok_or_else(|| AppraiseError::EkNotPinned { fingerprint, pool: pool.to_owned() })?;
    match pin.expires {
        Some(expires) if now > expires => {
            Err(AppraiseError::EkPinExpired { fingerprint, pool: pool.to_owned(), expires, now })
        }
        _ => Ok(pin),
    }
}

impl EkPin {
    /// Who vouches for the EK, since when and why, for the audit.
    pub(crate) fn provenance(&self) -> String {
        let Self { fingerprint: _, added_by, added_at, reason, obtained: _, expires } = self;
        let until = expires.map_or_else(String::new, |expires| format!(" until {expires}"));
        format!("pinned by {added_by:?} at {added_at}{until}: {reason:?}")
    }

    /// That nobody certified the EK, and how its fingerprint was obtained, for the audit.
    pub(crate) fn uncertified(&self) -> String {
        match self.obtained.as_str() {
            "" => "ek: pinned, uncertified; how the fingerprint was obtained is not stated".to_owned(),
            obtained => format!("ek: pinned, uncertified; fingerprint obtained: {obtained:?}"),
        }
    }
}
