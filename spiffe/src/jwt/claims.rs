//! The claims of a token, in the form that JWT-SVID.md, section 3, demands; their truth is the validator's business.

use std::time::Duration;

use serde_json::{Map, Value};

use super::JwtError;
use crate::SpiffeId;

/// What a token claims.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) id: SpiffeId,
    pub(super) audience: Vec<String>,
    /// Unix seconds, rounded down.
    pub(super) expires_at: u64,
    /// Unix seconds, rounded up: a fraction of a second early is early.
    pub(super) not_before: Option<u64>,
    /// All of them, as they stood there but for `aud`, which is always a list.
    pub(super) members: Map<String, Value>,
}

impl Claims {
    /// Checks, in order: `sub` a SPIFFE ID; `aud` a text or a list of one or more texts; `exp` a time; `nbf` a time, if it is there.
    /// A subject that is a trust domain passes, as it does with every other validator.
    pub(super) fn read(mut members: Map<String, Value>) -> Result<Self, JwtError> {
        let sub = members.get("sub").and_then(Value::as_str).ok_or(JwtError::SubjectMissing)?;
        let id = SpiffeId::parse(sub).map_err(JwtError::Subject)?;
        let audience = audience(members.get("aud").ok_or(JwtError::AudienceMissing)?)?;
        let exp = members.get("exp").ok_or(JwtError::ExpiryMissing)?;
        let expires_at = numeric_date(exp).ok_or(JwtError::ExpiryMalformed)?.as_secs();
        let not_before = match members.get("nbf") {
            None => None,
            Some(nbf) => Some(rounded_up(numeric_date(nbf).ok_or(JwtError::NotBeforeMalformed)?)),
        };
        members.insert("aud".to_owned(), audience.as_slice().into());
        Ok(Self { id, audience, expires_at, not_before, members })
    }

    /// `iat`, where it is a time. Nothing depends on it: no check is made of it (a clock that is ahead issues good tokens).
    pub(super) fn issued_at(&self) -> Option<u64> {
        self.members.get("iat").and_then(numeric_date).map(|time| time.as_secs())
    }
}

fn audience(aud: &Value) -> Result<Vec<String>, JwtError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let audience: Option<Vec<String>> = match aud {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(several) => several.iter().map(text).collect(),
        _ => None,
    };
    audience.filter(|audience| !audience.is_empty()).ok_or(JwtError::AudienceMalformed)
}

/// NumericDate (RFC 7519, section 2): seconds since 1970, fractions allowed. Negative and beyond 64 bits is none.
fn numeric_date(value: &Value) -> Option<Duration> {
    match value.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok(),
    }
}

fn rounded_up(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
