//! Whom a JWT-SVID is for, as far as the server decides it: someone, and no more than a token can carry.

use crate::limits::MAX_AUDIENCE_LEN;

/// At least one value, and none is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audience(Vec<String>);

/// Why nobody gets a token for this audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// None, or only empty values: InvalidArgument.
    #[error("at least one audience is required")]
    Missing,
    /// More than a token has room for: InvalidArgument.
    #[error("the audience takes {len} bytes of a token, of at most {MAX_AUDIENCE_LEN}")]
    TooLong {
        /// Its length as JSON.
        len: usize,
    },
}

impl Audience {
    /// Empty values are dropped, as SPIRE drops them.
    pub(crate) fn new(mut values: Vec<String>) -> Result<Self, AudienceError> {
        values.retain(|value| !value.is_empty());
        if values.is_empty() {
            return Err(AudienceError::Missing);
        }
        // A list of strings can be written as JSON; if not, it is too long for any token.
        let len = serde_json::to_string(&values).map_or(usize::MAX, |json| json.len());
        if len > MAX_AUDIENCE_LEN {
            return Err(AudienceError::TooLong { len });
        }
        Ok(Self(values))
    }

    pub(crate) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(values: &[&str]) -> Result<Vec<String>, AudienceError> {
        Audience::new(values.iter().map(|value| (*value).to_owned()).collect()).map(|audience| audience.0)
    }

    #[test]
    fn empty_values_are_dropped_and_nothing_else_is() {
        assert_eq!(audience(&["a", "", "b", "a", " "]).unwrap(), ["a", "b", "a", " "]);
        for none in [&[][..], &[""], &["", ""]] {
            assert_eq!(audience(none).unwrap_err(), AudienceError::Missing);
        }
    }

    #[test]
    fn what_no_token_has_room_for_is_refused() {
        let fits = "a".repeat(MAX_AUDIENCE_LEN - 4);
        assert!(audience(&[&fits]).is_ok());
        let len = MAX_AUDIENCE_LEN + 1;
        assert_eq!(audience(&[&format!("{fits}a")]).unwrap_err(), AudienceError::TooLong { len });
        // A control character takes six bytes of JSON.
        let escaped = "\u{1}".repeat(MAX_AUDIENCE_LEN / 6 + 1);
        assert!(matches!(audience(&[&escaped]).unwrap_err(), AudienceError::TooLong { .. }));
    }
}
