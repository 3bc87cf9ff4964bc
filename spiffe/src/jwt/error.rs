//! Why a token is refused: one variant per check, in the order in which `validate` makes them.

use std::fmt;

use super::{JwtAlgorithm, LEEWAY, MAX_TOKEN_LEN};
use crate::{KeyError, SpiffeIdError, TrustDomain};

/// A segment of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The JOSE header.
    Header,
    /// The claims.
    Claims,
    /// The signature.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The caller has no audience of its own: nothing could match it.
    #[error("no audience to validate against")]
    NoExpectedAudience,
    /// Longer than any token that is read.
    #[error("token of {len} bytes, of at most {MAX_TOKEN_LEN}")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// Not the compact serialization of a signed token: `header.claims.signature`.
    #[error("token has {got} segments instead of 3")]
    Segments {
        /// How many there were.
        got: usize,
    },
    /// Not base64url: padded, with white space or a line break, or with bits left over.
    #[error("the token's {part} is not base64url without padding")]
    Base64 {
        /// Which segment.
        part: Part,
    },
    /// Not one JSON object.
    #[error("the token's {part}: {reason}")]
    Json {
        /// Which segment.
        part: Part,
        /// What the reader said.
        reason: String,
    },
    /// One name twice in one object: two readers could take it for two different tokens.
    #[error("the token's {part} has the member {name:?} twice")]
    DuplicateMember {
        /// Which segment.
        part: Part,
        /// The name.
        name: String,
    },
    /// `crit` names extensions, and none is understood here (RFC 7515, section 4.1.11).
    #[error("the token's header names critical extensions")]
    Critical,
    /// `alg` is absent or no text.
    #[error("the token names no algorithm")]
    AlgorithmMissing,
    /// `alg` is none of JWT-SVID.md, section 2.1.
    #[error("no JWT-SVID is signed with {alg:?}")]
    AlgorithmUnsupported {
        /// The claimed value.
        alg: String,
    },
    /// `typ` is there and neither `JWT` nor `JOSE`.
    #[error("the token's type is {typ}, where only \"JWT\" and \"JOSE\" are allowed")]
    Type {
        /// The claimed value, as JSON.
        typ: String,
    },
    /// `kid` is absent, empty or no text.
    #[error("the token names no key")]
    KeyIdMissing,
    /// `sub` is absent or no text.
    #[error("the token has no subject")]
    SubjectMissing,
    /// `sub` is no SPIFFE ID.
    #[error("the token's subject is not a SPIFFE ID")]
    Subject(#[source] SpiffeIdError),
    /// `aud` is absent.
    #[error("the token has no audience")]
    AudienceMissing,
    /// `aud` is neither a text nor a list of texts with at least one in it.
    #[error("the token's audience is not a text or a list of texts with one or more in it")]
    AudienceMalformed,
    /// `exp` is absent.
    #[error("the token has no expiry")]
    ExpiryMissing,
    /// `exp` is no number of seconds since 1970.
    #[error("the token's expiry is not a time")]
    ExpiryMalformed,
    /// `nbf` is there and no number of seconds since 1970.
    #[error("the token's not-before is not a time")]
    NotBeforeMalformed,
    /// The subject's trust domain is not trusted at all.
    #[error("no bundle for trust domain {trust_domain}")]
    UnknownTrustDomain {
        /// The subject's.
        trust_domain: TrustDomain,
    },
    /// The subject's trust domain has no such key.
    #[error("trust domain {trust_domain} has no JWT authority {key_id:?}")]
    UnknownKey {
        /// The subject's.
        trust_domain: TrustDomain,
        /// The claimed `kid`.
        key_id: String,
    },
    /// The authority itself has ended: a token does not outlive the key that signed it.
    #[error("the JWT authority {key_id:?} expired at {expires_at}, and it is {now}")]
    AuthorityExpired {
        /// `kid`.
        key_id: String,
        /// Unix seconds.
        expires_at: u64,
        /// Unix seconds.
        now: u64,
    },
    /// A key that no authority may have, such as RSA below 2048 bits.
    #[error("the JWT authority's key can't be used")]
    Key(#[source] KeyError),
    /// The algorithm is another type of key's: the key decides, never the token.
    #[error("the JWT authority {key_id:?} has no key for {}", .alg.as_str())]
    AlgorithmOfAnotherKey {
        /// `kid`.
        key_id: String,
        /// The claimed algorithm.
        alg: JwtAlgorithm,
    },
    /// An ECDSA signature that is not r and s of the curve's length one after the other; DER, for instance.
    #[error("a signature of {got} bytes, where {} has {expected}", .alg.as_str())]
    SignatureLength {
        /// The algorithm.
        alg: JwtAlgorithm,
        /// Its length, in bytes.
        expected: usize,
        /// The signature's, in bytes.
        got: usize,
    },
    /// Signed by another key, or changed since.
    #[error("the token's signature is not by the JWT authority {key_id:?}")]
    Signature {
        /// `kid`.
        key_id: String,
    },
    /// Past `exp` and the leeway.
    #[error("token expired at {expires_at}, and it is {now} (leeway {LEEWAY} s)")]
    Expired {
        /// Unix seconds.
        expires_at: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Before `nbf` and the leeway.
    #[error("token is not valid before {not_before}, and it is {now} (leeway {LEEWAY} s)")]
    NotYetValid {
        /// Unix seconds.
        not_before: u64,
        /// Unix seconds.
        now: u64,
    },
    /// For others.
    #[error("token is for {audience:?} and not for {expected:?}")]
    Audience {
        /// The proven audience.
        audience: Vec<String>,
        /// Who validates.
        expected: String,
    },
}
