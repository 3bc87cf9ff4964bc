//! JWT-SVIDs to be signed (JWT-SVID.md, sections 2, 3 and 5.1). The signature is made elsewhere (a `KeyStore`).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use serde::Serialize;

use super::{JwtAlgorithm, MAX_TOKEN_LEN};
use crate::SpiffeId;

/// Why no token can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtIssueError {
    /// A JWT-SVID names a workload.
    #[error("{id} names a trust domain; a JWT-SVID needs a path")]
    RootPath {
        /// The ID.
        id: SpiffeId,
    },
    /// No audience, or an empty one among them: no validator could accept the token, or anyone could.
    #[error("a JWT-SVID needs an audience, and none may be empty")]
    Audience,
    /// No `kid`: validators refuse a token without.
    #[error("a JWT-SVID names the key that signs it")]
    KeyId,
    /// Validity that ends before it begins.
    #[error("the token would expire at {expires_at}, before it is issued at {issued_at}")]
    Validity {
        /// Unix seconds.
        issued_at: u64,
        /// Unix seconds.
        expires_at: u64,
    },
    /// Longer than validators read.
    #[error("the token has {len} bytes, of at most {MAX_TOKEN_LEN}")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// What the key store returned is no signature of this algorithm.
    #[error("not a signature of {}: {reason}", .algorithm.as_str())]
    Signature {
        /// The algorithm.
        algorithm: JwtAlgorithm,
        /// What does not fit.
        reason: String,
    },
    /// JSON that can't be written.
    #[error("the token can't be encoded: {reason}")]
    Encoding {
        /// What the writer said.
        reason: String,
    },
}

/// The claims of a token.
#[derive(Clone, Copy, Debug)]
pub struct JwtSvidTemplate<'a> {
    /// `sub`; has a path.
    pub spiffe_id: &'a SpiffeId,
    /// `aud`; always written as a list.
    pub audience: &'a [String],
    /// `iss`, where one is configured.
    pub issuer: Option<&'a str>,
    /// `iat`, Unix seconds.
    pub issued_at: u64,
    /// `exp`, Unix seconds; an integer, since not every validator reads fractions.
    pub expires_at: u64,
    /// `jti`, where the entry asks for one.
    pub jti: Option<&'a str>,
}

/// Exactly these members: JWT-SVID.md, section 2, allows no other.
#[derive(Serialize)]
struct EmittedHeader<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

#[derive(Serialize)]
struct EmittedClaims<'a> {
    aud: &'a [String],
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    sub: &'a str,
}

impl JwtSvidTemplate<'_> {
    /// Encodes what the key `key_id` has to sign with `algorithm`.
    pub fn to_unsigned(&self, algorithm: JwtAlgorithm, key_id: &str) -> Result<UnsignedJwt, JwtIssueError> {
        let Self { spiffe_id, audience, issuer, issued_at, expires_at, jti } = *self;
        if spiffe_id.is_trust_domain() {
            return Err(JwtIssueError::RootPath { id: spiffe_id.clone() });
        }
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(JwtIssueError::Audience);
        }
        if key_id.is_empty() {
            return Err(JwtIssueError::KeyId);
        }
        if expires_at < issued_at {
            return Err(JwtIssueError::Validity { issued_at, expires_at });
        }
        let header = segment(&EmittedHeader { alg: algorithm.as_str(), kid: key_id, typ: "JWT" })?;
        let claims =
            EmittedClaims { aud: audience, exp: expires_at, iat: issued_at, iss: issuer, jti, sub: spiffe_id.as_str() };
        let signing_input = [header.as_str(), ".", &segment(&claims)?].concat();
        // Without the signature, so that no key is used for a token that is too long anyway.
        fits(signing_input.len())?;
        Ok(UnsignedJwt { signing_input, algorithm })
    }
}

/// What has to be signed, and how.
#[derive(Clone, Debug)]
pub struct UnsignedJwt {
    signing_input: String,
    algorithm: JwtAlgorithm,
}

impl UnsignedJwt {
    /// What the signature covers: `header.claims`.
    pub fn as_bytes(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    /// The algorithm that the header names.
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.algorithm
    }

    /// Digest of `as_bytes` by the algorithm's hash: what `KeyStore::sign` takes.
    pub fn digest(&self) -> Vec<u8> {
        aws_lc_rs::digest::digest(self.algorithm.digest(), self.as_bytes()).as_ref().to_vec()
    }

    /// The token. `signature`: DER SEQUENCE for ECDSA, which becomes r and s one after the other; bare octets for RSA.
    pub fn assemble(self, signature: &[u8]) -> Result<String, JwtIssueError> {
        let Self { signing_input, algorithm } = self;
        let fixed = match algorithm.ecdsa_signature_len() {
            Some(len) => fixed_ecdsa(signature, len)
                .map_err(|error| JwtIssueError::Signature { algorithm, reason: error.to_string() })?,
            None if signature.is_empty() => {
                return Err(JwtIssueError::Signature { algorithm, reason: "it is empty".to_owned() });
            }
            None => signature.to_vec(),
        };
        let token = [signing_input.as_str(), ".", &BASE64_URL.encode(fixed)].concat();
        fits(token.len())?;
        Ok(token)
    }
}

fn fits(len: usize) -> Result<(), JwtIssueError> {
    if len > MAX_TOKEN_LEN {
        return Err(JwtIssueError::TooLarge { len });
    }
    Ok(())
}

fn segment(members: &impl Serialize) -> Result<String, JwtIssueError> {
    let json = serde_json::to_vec(members).map_err(|error| JwtIssueError::Encoding { reason: error.to_string() })?;
    Ok(BASE64_URL.encode(json))
}

/// From the SEQUENCE of RFC 3279, section 2.2.3, to r and s, each padded to half of `len` (RFC 7518, section 3.4).
fn fixed_ecdsa(signature: &[u8], len: usize) -> der::Result<Vec<u8>> {
    let mut reader = SliceReader::new(signature)?;
    let (r, s) = reader.sequence(|body| Ok::<_, der::Error>((UintRef::decode(body)?, UintRef::decode(body)?)))?;
    reader.finish()?;
    let mut fixed = Vec::with_capacity(len);
    for number in [r, s] {
        let octets = number.as_bytes();
        let padding = (len / 2).checked_sub(octets.len()).ok_or(der::ErrorKind::Overflow)?;
        fixed.extend(std::iter::repeat_n(0, padding));
        fixed.extend_from_slice(octets);
    }
    Ok(fixed)
}
