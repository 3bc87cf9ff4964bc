//! The form of a join token: it becomes the last segment of the node's SPIFFE ID, so it must be one.

/// Longest token, in bytes. SPIRE makes UUIDs (36); people choose words.
pub const MAX_TOKEN_LEN: usize = 255;

/// Checks that a token is a path segment of a SPIFFE ID (SPIFFE-ID.md, section 2.2): `[A-Za-z0-9._-]`, not `.` or `..`.
pub(crate) fn check_form(token: &str) -> Result<(), TokenFormError> {
    if token.is_empty() {
        return Err(TokenFormError::Empty);
    }
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenFormError::TooLong { len: token.len() });
    }
    if let Some(at) =
        token.bytes().position(|b| !matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    {
        return Err(TokenFormError::Character { at });
    }
    if token == "." || token == ".." {
        return Err(TokenFormError::DotSegment);
    }
    Ok(())
}

/// Why something is no join token. The token itself is never shown: it is a secret until it is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFormError {
    /// Nothing there.
    #[error("the join token is empty")]
    Empty,
    /// Longer than any token.
    #[error("a join token has at most {MAX_TOKEN_LEN} bytes, not {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A byte that a SPIFFE ID can't hold.
    #[error("a join token holds letters, digits, '.', '_' and '-' only; byte {at} is something else")]
    Character {
        /// Which byte, from 0.
        at: usize,
    },
    /// `.` or `..`.
    #[error("a join token is not a dot segment")]
    DotSegment,
    /// Not text.
    #[error("a join token is text, and this is not UTF-8")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for good in ["d45f4d32-19ec-4bb1-a9a0-06d4ab7e5bd2", "a", "My_token.1", "...", &"x".repeat(255)] {
            assert_eq!(check_form(good), Ok(()), "{good}");
        }
        assert_eq!(check_form(""), Err(TokenFormError::Empty));
        assert_eq!(check_form(&"x".repeat(256)), Err(TokenFormError::TooLong { len: 256 }));
        for bad in ["a/b", "a b", "a\n", "é", "a%2fb", "a\0", "../x"] {
            assert!(matches!(check_form(bad), Err(TokenFormError::Character { .. })), "{bad:?}");
        }
        assert_eq!(check_form(".."), Err(TokenFormError::DotSegment));
        assert_eq!(check_form("."), Err(TokenFormError::DotSegment));
    }
}
