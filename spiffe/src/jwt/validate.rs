//! Validation of a JWT-SVID (JWT-SVID.md, section 4): the only way to a `JwtSvid`.

use aws_lc_rs::signature::UnparsedPublicKey;
use rustls_pki_types::UnixTime;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::header::Header;
use super::parse::{Segments, UnverifiedJwt};
use super::{JwtAlgorithm, JwtError, LEEWAY};
use crate::key::PublicKey;
use crate::x509::BundleSource;
use crate::{JwtAuthority, SpiffeId};

/// A token that an authority of its subject's own trust domain signed, for the audience that asked, and that has not expired.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtSvid {
    id: SpiffeId,
    audience: Vec<String>,
    expires_at: u64,
    key_id: String,
    claims: Map<String, Value>,
}

impl JwtSvid {
    /// `sub`.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// `aud`, all of it.
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// `exp`, Unix seconds, rounded down.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// `kid` of the authority that signed.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Every claim as it was signed, but for `aud`, which is always a list.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Validates a token for one audience, its own. Checks, in order:
///
/// 1. there is an audience to validate against;
/// 2. the form (`UnverifiedJwt::parse`): length, three segments, strict base64url and JSON, `crit`, `alg`, `typ`, `kid`, `sub`, `aud`,
///    `exp`, `nbf`;
/// 3. a bundle for the subject's trust domain, and in it an authority with this `kid`, which has not ended;
/// 4. its key may be an authority's, and is of the one type that goes with `alg`: the key decides, not the token;
/// 5. the length of an ECDSA signature, and the signature over the bytes that arrived;
/// 6. `exp` and `nbf` at `now`, with `LEEWAY`;
/// 7. the audience is among those of the token, byte for byte.
///
/// `iat` is not checked. A tainted authority still validates: what it signed is being replaced, and revoking it ends that.
pub fn validate(token: &str, audience: &str, bundles: &dyn BundleSource, now: UnixTime) -> Result<JwtSvid, JwtError> {
    if audience.is_empty() {
        return Err(JwtError::NoExpectedAudience);
    }
    let Segments { unverified: UnverifiedJwt { header, claims }, signed, signature } = Segments::split(token)?;
    let trust_domain = claims.id.trust_domain();
    let bundle = bundles
        .bundle(trust_domain)
        .ok_or_else(|| JwtError::UnknownTrustDomain { trust_domain: trust_domain.clone() })?;
    let Header { claimed_algorithm, claimed_key_id: key_id } = header;
    let authority = bundle
        .jwt_authorities
        .iter()
        .find(|authority| authority.key_id == key_id)
        .ok_or_else(|| JwtError::UnknownKey { trust_domain: trust_domain.clone(), key_id: key_id.clone() })?;
    let now = now.as_secs();
    has_not_ended(authority, now)?;
    verify(authority, claimed_algorithm, signed, &signature)?;
    let Claims { id, audience: proven, expires_at, not_before, members } = claims;
    if now > expires_at.saturating_add(LEEWAY) {
        return Err(JwtError::Expired { expires_at, now });
    }
    if let Some(not_before) = not_before
        && now.saturating_add(LEEWAY) < not_before
    {
        return Err(JwtError::NotYetValid { not_before, now });
    }
    if !proven.iter().any(|value| value == audience) {
        return Err(JwtError::Audience { audience: proven, expected: audience.to_owned() });
    }
    Ok(JwtSvid { id, audience: proven, expires_at, key_id, claims: members })
}

/// Bundles of other domains come without times, and zero says so.
fn has_not_ended(authority: &JwtAuthority, now: u64) -> Result<(), JwtError> {
    match u64::try_from(authority.expires_at) {
        Ok(expires_at) if expires_at > 0 && now > expires_at.saturating_add(LEEWAY) => {
            Err(JwtError::AuthorityExpired { key_id: authority.key_id.clone(), expires_at, now })
        }
        _ => Ok(()),
    }
}

/// The authority's key is looked at first, and a claimed algorithm of another type of key goes no further.
fn verify(authority: &JwtAuthority, claimed: JwtAlgorithm, signed: &[u8], signature: &[u8]) -> Result<(), JwtError> {
    let key = PublicKey::parse(&authority.public_key).map_err(JwtError::Key)?;
    if key.algorithm != claimed.key() {
        return Err(JwtError::AlgorithmOfAnotherKey { key_id: authority.key_id.clone(), alg: claimed });
    }
    if let Some(expected) = claimed.ecdsa_signature_len()
        && signature.len() != expected
    {
        return Err(JwtError::SignatureLength { alg: claimed, expected, got: signature.len() });
    }
    UnparsedPublicKey::new(claimed.verifier(), key.bits)
        .verify(signed, signature)
        .map_err(|_| JwtError::Signature { key_id: authority.key_id.clone() })
}
