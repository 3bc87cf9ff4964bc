//! From the compact serialization (RFC 7515, section 7.1) to claims that no one has verified yet.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;

use super::claims::Claims;
use super::header::Header;
use super::{JwtError, MAX_TOKEN_LEN, Part, json};
use crate::SpiffeId;

/// A token in the form of a JWT-SVID, of which nothing is proven. For those who carry tokens and do not rely on them: an agent that
/// took one from its server, over a connection that it authenticated.
#[derive(Clone, Debug)]
pub struct UnverifiedJwt {
    pub(super) header: Header,
    pub(super) claims: Claims,
}

impl UnverifiedJwt {
    /// Checks, in order: length; three segments; base64url of the header; its JSON, without a member twice; the rules of the
    /// header; base64url of the claims; their JSON; their form; base64url of the signature.
    pub fn parse(token: &str) -> Result<Self, JwtError> {
        Ok(Segments::split(token)?.unverified)
    }

    /// `sub`.
    pub fn claimed_id(&self) -> &SpiffeId {
        &self.claims.id
    }

    /// `aud`.
    pub fn claimed_audience(&self) -> &[String] {
        &self.claims.audience
    }

    /// `exp`, Unix seconds.
    pub fn claimed_expires_at(&self) -> u64 {
        self.claims.expires_at
    }

    /// `iat`, Unix seconds, where there is one.
    pub fn claimed_issued_at(&self) -> Option<u64> {
        self.claims.issued_at()
    }

    /// `jti`, where there is one.
    pub fn claimed_jti(&self) -> Option<&str> {
        self.claims.members.get("jti").and_then(serde_json::Value::as_str)
    }

    /// `kid`.
    pub fn claimed_key_id(&self) -> &str {
        &self.header.claimed_key_id
    }
}

/// A token taken apart: what it claims, and the bytes that a signature has to cover.
pub(super) struct Segments<'a> {
    pub(super) unverified: UnverifiedJwt,
    /// `header.claims` as it arrived.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Segments<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(JwtError::TooLarge { len: token.len() });
        }
        let mut segments = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(JwtError::Segments { got: token.split('.').count() });
        };
        let signed = token.as_bytes().get(..header.len() + 1 + claims.len()).unwrap_or_default();
        let header = Header::read(&json::object(Part::Header, &decode(Part::Header, header)?)?)?;
        let claims = Claims::read(json::object(Part::Claims, &decode(Part::Claims, claims)?)?)?;
        let signature = decode(Part::Signature, signature)?;
        Ok(Self { unverified: UnverifiedJwt { header, claims }, signed, signature })
    }
}

/// Base64url has one form for each text here: no padding, no white space, no bits left over.
fn decode(part: Part, segment: &str) -> Result<Vec<u8>, JwtError> {
    BASE64_URL.decode(segment).map_err(|_| JwtError::Base64 { part })
}
