//! SVIDs: what is asked for, and how it is signed.
//!
//! The authority is in the bundle when the signature begins, and still when it is handed out: what a key store was slow with is not issued
//! by an authority that was revoked meanwhile.

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::JwtSvidTemplate;
use plastron_spiffe::x509::{LeafTemplate, SerialNumber, Subject};
use sha2::{Digest as _, Sha256};

use super::{CertificateAuthority, SignError, random, random_serial, seconds};
use crate::audit::{Document, DocumentFacts, DocumentIdentity, Unrecorded};
use crate::limits::{MIN_SVID_TTL, backdate};
use crate::meters;

/// A leaf to be signed. The SPIFFE ID is the server's decision and never the requester's.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The only URI SAN.
    pub spiffe_id: &'a SpiffeId,
    /// SubjectPublicKeyInfo of a key that its owner proved to hold, DER.
    pub public_key: &'a [u8],
    /// Where an administrator asked for one; else it is SPIRE's.
    pub subject: Option<&'a Subject>,
    /// DNS SANs.
    pub dns_names: &'a [String],
    /// Wanted lifetime; cut to the CA's.
    pub ttl: Duration,
    /// The latest end that it may have all the same, Unix seconds: that of the verdict that it rests on, where it rests on one.
    pub not_after: Option<u64>,
}

/// A signed X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// DER certificates, leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// Serial number of the leaf.
    pub serial: SerialNumber,
    /// Validity, Unix seconds.
    pub not_before: u64,
    /// Validity, Unix seconds, inclusive.
    pub not_after: u64,
    /// The authority that signed it: its subject key identifier in lower-case hex.
    pub authority_id: Arc<str>,
    /// Subject key identifier of the root in the bundle that it hangs from, lower-case hex.
    pub anchor_id: Arc<str>,
}

impl IssuedSvid {
    /// Unix seconds, as the wire has it.
    pub fn expires_at(&self) -> i64 {
        i64::try_from(self.not_after).unwrap_or(i64::MAX)
    }
}

impl Document for IssuedSvid {
    fn facts(&self) -> DocumentFacts {
        DocumentFacts {
            event: "x509-svid issue",
            id: self.id.clone(),
            identity: DocumentIdentity::Serial(self.serial.clone()),
            authority_id: self.authority_id.to_string(),
            not_after: self.not_after,
        }
    }
}

/// A JWT-SVID to be signed. The SPIFFE ID is the server's decision and never the requester's.
#[derive(Clone, Copy, Debug)]
pub struct JwtLeaf<'a> {
    /// `sub`.
    pub spiffe_id: &'a SpiffeId,
    /// `aud`; at least one, none empty.
    pub audience: &'a [String],
    /// Wanted lifetime; cut to the key's.
    pub ttl: Duration,
    /// The latest end that it may have all the same, Unix seconds: that of the verdict that it rests on, where it rests on one.
    pub not_after: Option<u64>,
    /// Whether it is to have a `jti`.
    pub include_jti: bool,
}

/// A signed JWT-SVID.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedJwt {
    /// Whose it is.
    pub id: SpiffeId,
    /// The compact token.
    pub token: String,
    /// `kid` of the key that signed it.
    pub key_id: Arc<str>,
    /// `iat`, Unix seconds.
    pub issued_at: u64,
    /// `exp`, Unix seconds.
    pub expires_at: u64,
    /// `jti`, where it has one.
    pub jti: Option<String>,
}

impl std::fmt::Debug for IssuedJwt {
    /// Whoever has the token is the workload: it is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, token: _, key_id, issued_at, expires_at, jti } = self;
        f.debug_struct("IssuedJwt")
            .field("id", id)
            .field("key_id", key_id)
            .field("issued_at", issued_at)
            .field("expires_at", expires_at)
            .field("jti", jti)
            .finish_non_exhaustive()
    }
}

impl Document for IssuedJwt {
    fn facts(&self) -> DocumentFacts {
        DocumentFacts {
            event: "jwt-svid issue",
            id: self.id.clone(),
            identity: DocumentIdentity::TokenSha256(Sha256::digest(&self.token).into()),
            authority_id: self.key_id.to_string(),
            not_after: self.expires_at,
        }
    }
}

impl CertificateAuthority {
    /// Signs a leaf. Its end is cut to the authority's. It is for nobody before it is recorded.
    pub async fn sign(&self, leaf: Leaf<'_>) -> Result<Unrecorded<IssuedSvid>, SignError> {
        let authority = self.x509.published(&self.context).map_err(SignError::Authority)?;
        let (now, not_after) = self.lifetime(leaf.ttl, leaf.not_after, authority.not_after())?;
        let serial = random_serial().map_err(|reason| SignError::Random { reason })?;
        let not_before = now.saturating_sub(backdate(not_after.saturating_sub(now)));
        let tbs = LeafTemplate {
            spiffe_id: leaf.spiffe_id,
            public_key: leaf.public_key,
            subject: leaf.subject,
            dns_names: leaf.dns_names,
            serial: &serial,
            not_before: seconds(not_before),
            not_after: seconds(not_after),
        }
        .to_tbs(authority.issuer())
        .map_err(SignError::Template)?;
        let keys = self.context.key_store();
        let digest = tbs.digest();
        let signature =
            keys.sign(authority.key_id(), authority.scheme(), &digest).await.map_err(SignError::KeyStore)?;
        let signature = authority.check(keys.identity(), &digest, signature).map_err(SignError::Authority)?;
        let certificate = tbs.assemble(signature.as_bytes()).map_err(SignError::Template)?;
        self.x509.still_published(&self.context, &authority).map_err(SignError::Authority)?;
        let chain = std::iter::once(certificate).chain(authority.chain().iter().cloned()).collect();
        let (authority_id, anchor_id) = (authority.shared_id(), Arc::clone(authority.anchor_id()));
        let id = leaf.spiffe_id.clone();
        meters::X509_SVID_SIGNED.increment();
        Ok(Unrecorded::new(IssuedSvid { id, chain, serial, not_before, not_after, authority_id, anchor_id }))
    }

    /// Signs a JWT-SVID. Its end is cut to the key's. It is for nobody before it is recorded.
    pub async fn sign_jwt(&self, leaf: JwtLeaf<'_>) -> Result<Unrecorded<IssuedJwt>, SignError> {
        let rotor = self.jwt.as_ref().ok_or(SignError::JwtDisabled)?;
        let authority = rotor.published(&self.context).map_err(SignError::Authority)?;
        let (issued_at, expires_at) = self.lifetime(leaf.ttl, leaf.not_after, authority.not_after())?;
        let jti = match leaf.include_jti {
            true => Some(hex::encode(random().map_err(|reason| SignError::Random { reason })?)),
            false => None,
        };
        let unsigned = JwtSvidTemplate {
            spiffe_id: leaf.spiffe_id,
            audience: leaf.audience,
            issuer: self.context.config.jwt_issuer.as_deref(),
            issued_at,
            expires_at,
            jti: jti.as_deref(),
        }
        .to_unsigned(authority.algorithm(), authority.authority_id())
        .map_err(SignError::Jwt)?;
        let keys = self.context.key_store();
        let digest = unsigned.digest();
        let signature =
            keys.sign(authority.key_id(), authority.scheme(), &digest).await.map_err(SignError::KeyStore)?;
        let signature = authority.check(keys.identity(), &digest, signature).map_err(SignError::Authority)?;
        let token = unsigned.assemble(signature.as_bytes()).map_err(SignError::Jwt)?;
        rotor.still_published(&self.context, &authority).map_err(SignError::Authority)?;
        let (id, key_id) = (leaf.spiffe_id.clone(), authority.shared_id());
        meters::JWT_SVID_SIGNED.increment();
        Ok(Unrecorded::new(IssuedJwt { id, token, key_id, issued_at, expires_at, jti }))
    }

    /// Now and the end of what is signed now, Unix seconds.
    pub(super) fn lifetime(
        &self,
        ttl: Duration,
        not_after: Option<u64>,
        authority: u64,
    ) -> Result<(u64, u64), SignError> {
        let now = self.context.clock.now().as_secs();
        let latest = not_after.unwrap_or(u64::MAX).min(authority);
        let not_after = now.saturating_add(ttl.as_secs()).min(latest);
        if not_after < now.saturating_add(MIN_SVID_TTL.as_secs()) {
            return Err(SignError::Expired { not_after, now });
        }
        Ok((now, not_after))
    }
}
