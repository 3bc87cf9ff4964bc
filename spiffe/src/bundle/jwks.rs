//! Bundles as JWK sets (SPIFFE_Trust_Domain_and_Bundle.md, section 4; X509-SVID.md, section 6; JWT-SVID.md, section 6).
//!
//! Liberal in: a key of unknown use or type, or one that is malformed in itself, is ignored and the others count. Strict out.
//! The document as a whole is refused when it is not JSON, has no `keys`, or a number that is not one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::jwk::Jwk;
use super::{Bundle, BundleError, JwtAuthority, MAX_AUTHORITIES, X509Authority, public_key};
use crate::{KeyError, TrustDomain};

/// Longest bundle document that is read, in bytes: some hundred authorities. Federation endpoints are foreign.
pub const MAX_DOCUMENT_LEN: usize = 1024 * 1024;

const X509_SVID: &str = "x509-svid";
const JWT_SVID: &str = "jwt-svid";

#[derive(Deserialize)]
struct Received {
    keys: Vec<serde_json::Value>,
    #[serde(default)]
    spiffe_sequence: u64,
    #[serde(default)]
    spiffe_refresh_hint: u32,
}

#[derive(Serialize)]
struct Emitted {
    keys: Vec<Jwk>,
    #[serde(skip_serializing_if = "is_zero")]
    spiffe_sequence: u64,
    #[serde(skip_serializing_if = "is_zero_i64")]
    spiffe_refresh_hint: i64,
}

#[derive(Serialize)]
struct StandardJwks {
    keys: Vec<Jwk>,
}

impl Bundle {
    /// Reads the SPIFFE bundle document of `trust_domain`. The document does not say whose it is: the caller does.
    pub fn from_spiffe_json(trust_domain: TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        if document.len() > MAX_DOCUMENT_LEN {
            let got = document.len();
            return Err(BundleError::TooLarge { what: "bytes in a bundle", got, limit: MAX_DOCUMENT_LEN });
        }
        let json = |reason: String| BundleError::Json { reason };
        // serde_json does not look at the encoding of members that it skips.
        let document = std::str::from_utf8(document).map_err(|error| json(error.to_string()))?;
        let Received { keys, spiffe_sequence, spiffe_refresh_hint } =
            serde_json::from_str(document).map_err(|error| json(error.to_string()))?;
        if keys.len() > MAX_AUTHORITIES {
            return Err(BundleError::TooLarge { what: "keys", got: keys.len(), limit: MAX_AUTHORITIES });
        }
        let mut bundle = Self::empty(trust_domain);
        bundle.sequence_number = spiffe_sequence;
        bundle.refresh_hint = i64::from(spiffe_refresh_hint);
        for key in keys {
            // A key that is malformed in itself is ignored, like one of unknown use or type.
            let Ok(key) = serde_json::from_value::<Jwk>(key) else { continue };
            match key.key_use.as_deref() {
                Some(X509_SVID) => bundle.x509_authorities.extend(x509_authority(&key)),
                Some(JWT_SVID) => {
                    if let Some(authority) = jwt_authority(&key) {
                        // The last of several keys with one kid wins, as it does for every reader that makes a map.
                        bundle.jwt_authorities.retain(|known| known.key_id != authority.key_id);
                        bundle.jwt_authorities.push(authority);
                    }
                }
                _ => {}
            }
        }
        Ok(bundle)
    }

    /// The SPIFFE bundle document, with `use` in every key.
    pub fn to_spiffe_json(&self) -> Result<String, BundleError> {
        let mut keys = Vec::with_capacity(self.x509_authorities.len() + self.jwt_authorities.len());
        for authority in &self.x509_authorities {
            let mut key = Jwk::from_public_key(&public_key(&authority.certificate)?)?;
            key.key_use = Some(X509_SVID.to_owned());
            key.x5c = Some(vec![BASE64_STANDARD.encode(&authority.certificate)]);
            keys.push(key);
        }
        for mut key in self.jwt_keys()? {
            key.key_use = Some(JWT_SVID.to_owned());
            keys.push(key);
        }
        to_json(&Emitted { keys, spiffe_sequence: self.sequence_number, spiffe_refresh_hint: self.refresh_hint })
    }

    /// The JWT authorities as a standard JWK set, for the Workload API: `kid` in every key, and no `use`, since stock JWT
    /// libraries refuse SPIFFE's value.
    pub fn to_jwt_jwks(&self) -> Result<String, BundleError> {
        to_json(&StandardJwks { keys: self.jwt_keys()? })
    }

    fn jwt_keys(&self) -> Result<Vec<Jwk>, KeyError> {
        let key = |authority: &JwtAuthority| {
            let mut key = Jwk::from_public_key(&authority.public_key)?;
            key.kid = Some(authority.key_id.clone());
            Ok(key)
        };
        self.jwt_authorities.iter().map(key).collect()
    }
}

/// The first `x5c` value counts, the others are ignored. The certificate is what is trusted, so the key beside it must be its key.
fn x509_authority(key: &Jwk) -> Option<X509Authority> {
    let certificate = BASE64_STANDARD.decode(key.x5c.as_ref()?.first()?).ok()?;
    let authority = X509Authority::parse(certificate).ok()?;
    let certified = public_key(&authority.certificate).ok()?;
    (key.to_public_key().ok()? == certified).then_some(authority)
}

fn jwt_authority(key: &Jwk) -> Option<JwtAuthority> {
    let key_id = key.kid.clone().filter(|kid| !kid.is_empty())?;
    Some(JwtAuthority { key_id, public_key: key.to_public_key().ok()?, expires_at: 0, tainted: false })
}

/// Indented by four spaces, as SPIRE writes it.
fn to_json(document: &impl Serialize) -> Result<String, BundleError> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let json = |reason: String| BundleError::Json { reason };
    document
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        .map_err(|error| json(error.to_string()))?;
    String::from_utf8(out).map_err(|error| json(error.to_string()))
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}
