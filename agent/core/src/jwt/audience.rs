//! The audience of a JWT-SVID (JWT-SVID.md, section 3.2): who a token is for, as a set.

use std::sync::Arc;

/// Most values of one audience. A token is for the service that it is sent to (JWT-SVID.md, section 3.2); some callers name a few.
pub const MAX_AUDIENCES: usize = 32;

/// Most bytes of all values together. A token has to fit an HTTP header, of which common servers take 8 KiB, and base64 makes three
/// bytes of claims four; the signature of an RSA-4096 key takes 683 of them.
pub const MAX_AUDIENCE_BYTES: usize = 4 * 1024;

/// At least one value, none of them empty, sorted, without duplicates: two requests for the same set are the same. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience(Arc<[String]>);

impl Audience {
    /// Empty values are left out, as SPIRE's server leaves them out of the token.
    pub fn parse(values: impl IntoIterator<Item = String>) -> Result<Self, AudienceError> {
        let (mut kept, mut bytes) = (Vec::new(), 0_usize);
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            bytes = bytes.saturating_add(value.len());
            if kept.len() == MAX_AUDIENCES {
                return Err(AudienceError::TooMany);
            }
            if bytes > MAX_AUDIENCE_BYTES {
                return Err(AudienceError::TooLong);
            }
            kept.push(value);
        }
        if kept.is_empty() {
            return Err(AudienceError::Empty);
        }
        kept.sort();
        kept.dedup();
        Ok(Self(kept.into()))
    }

    /// Sorted, without duplicates.
    pub fn values(&self) -> &[String] {
        &self.0
    }

    /// Whether these values, in whatever order, are exactly this set.
    pub(crate) fn is(&self, values: &[String]) -> bool {
        let mut values: Vec<&String> = values.iter().collect();
        values.sort();
        values.dedup();
        values.into_iter().eq(self.0.iter())
    }
}

/// Why a token can't be for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// No value, or only empty ones.
    #[error("audience must be specified")]
    Empty,
    /// Too many values.
    #[error("more than {MAX_AUDIENCES} audiences")]
    TooMany,
    /// Too many bytes.
    #[error("audiences of more than {MAX_AUDIENCE_BYTES} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Audience, AudienceError> {
        Audience::parse(values.iter().map(|value| (*value).to_owned()))
    }

    #[test]
    fn an_audience_is_a_set() {
        assert_eq!(parse(&["b", "a", "b", ""]).unwrap().values(), ["a", "b"]);
        assert_eq!(parse(&["a", "b"]), parse(&["b", "a"]));
        assert_ne!(parse(&["a", "b"]), parse(&["ab"]));
        let audience = parse(&["a", "b"]).unwrap();
        assert!(audience.is(&["b".to_owned(), "a".to_owned()]));
        for other in [&["a"][..], &["a", "b", "c"], &[], &["A", "b"]] {
            assert!(!audience.is(&other.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_audience() {
        assert_eq!(parse(&[]), Err(AudienceError::Empty));
        assert_eq!(parse(&["", ""]), Err(AudienceError::Empty));
    }

    /// Threat 30: a request that would make a token that no one can send, or a cache that fills memory, is refused.
    #[test]
    fn count_and_length_are_bounded() {
        let value = |n: usize| n.to_string();
        let count = |n: usize| Audience::parse((0..n).map(value));
        count(MAX_AUDIENCES).unwrap();
        assert_eq!(count(MAX_AUDIENCES + 1), Err(AudienceError::TooMany));
        parse(&["x".repeat(MAX_AUDIENCE_BYTES).as_str()]).unwrap();
        assert_eq!(parse(&["x".repeat(MAX_AUDIENCE_BYTES).as_str(), "y"]), Err(AudienceError::TooLong));
    }
}
