//! What the agent checks of a JWT-SVID that the server sends it, before any workload sees it.

use plastron_spiffe::jwt::{JwtError, UnverifiedJwt};
use plastron_spiffe::{Bundle, SpiffeId};
use rustls_pki_types::UnixTime;

use super::{Audience, JwtToken};
use crate::upstream::{AuthorizedEntry, JwtSvidReply};

/// Checks, in order: the token has the form of a JWT-SVID; its subject, and the one in the message, is the entry's ID; its audience is
/// exactly the one asked for; it carries a `jti` where the entry demands one; it was not issued after its expiry; it has not expired;
/// the authority that signed it is not tainted, as far as our bundle tells.
///
/// The signature is for the workload's peers to verify, and the bundle may not hold a new authority yet; the server that sent the token
/// was verified by TLS.
pub(super) fn check_jwt_svid(
    reply: JwtSvidReply,
    entry: &AuthorizedEntry,
    audience: &Audience,
    bundle: &Bundle,
    now: UnixTime,
) -> Result<JwtToken, IssuedJwtError> {
    let JwtSvidReply { token, spiffe_id, issued_at, expires_at: stated_expiry } = reply;
    let jwt = UnverifiedJwt::parse(&token)?;
    for got in [jwt.claimed_id(), &spiffe_id] {
        if *got != entry.spiffe_id {
            return Err(IssuedJwtError::OtherId { got: got.clone(), expected: entry.spiffe_id.clone() });
        }
    }
    if !audience.is(jwt.claimed_audience()) {
        return Err(IssuedJwtError::OtherAudience {
            got: jwt.claimed_audience().to_vec(),
            expected: audience.values().to_vec(),
        });
    }
    if entry.jwt_svid_include_jti && jwt.claimed_jti().is_none_or(str::is_empty) {
        return Err(IssuedJwtError::NoJti);
    }
    let expires_at = jwt.claimed_expires_at().min(stated_expiry);
    let issued_at = jwt.claimed_issued_at().unwrap_or(issued_at).max(issued_at);
    if issued_at > expires_at {
        return Err(IssuedJwtError::IssuedAfterExpiry { issued_at, expires_at });
    }
    let now = now.as_secs();
    if expires_at <= now {
        return Err(IssuedJwtError::Expired { expires_at, now });
    }
    let key_id = jwt.claimed_key_id().to_owned();
    if bundle.jwt_authorities.iter().any(|authority| authority.key_id == key_id && authority.tainted) {
        return Err(IssuedJwtError::TaintedAuthority { key_id });
    }
    let renew_at = now.saturating_add(expires_at.saturating_sub(now) / 2);
    Ok(JwtToken { token, key_id, issued_at, expires_at, renew_at })
}

/// Why the agent does not take a JWT-SVID that the server issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuedJwtError {
    /// Not a JWT-SVID.
    #[error("no JWT-SVID")]
    Form(#[from] JwtError),
    /// Another ID than the entry's.
    #[error("the server issued a token of {got} where {expected} was expected")]
    OtherId {
        /// In the token or beside it.
        got: SpiffeId,
        /// The entry's.
        expected: SpiffeId,
    },
    /// For others than asked for, or for more.
    #[error("the server issued a token for {got:?} where {expected:?} was asked for")]
    OtherAudience {
        /// In the token.
        got: Vec<String>,
        /// The one asked for.
        expected: Vec<String>,
    },
    /// The entry wants a `jti` and the server put none in.
    #[error("the server issued a token without a jti, which the entry demands")]
    NoJti,
    /// Its times contradict each other.
    #[error("the server issued a token at {issued_at} that expires at {expires_at}")]
    IssuedAfterExpiry {
        /// Unix seconds.
        issued_at: u64,
        /// Unix seconds.
        expires_at: u64,
    },
    /// Over by our clock.
    #[error("the server issued a token that expired at {expires_at}, and it is {now}")]
    Expired {
        /// Unix seconds.
        expires_at: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Signed by an authority that must not be relied on.
    #[error("the server issued a token of the tainted JWT authority {key_id:?}")]
    TaintedAuthority {
        /// `kid`.
        key_id: String,
    },
}
