//! Public keys as JSON Web Keys (RFC 7517; RFC 7518, section 6; RFC 8037), to and from SubjectPublicKeyInfo.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use serde::{Deserialize, Serialize};

use crate::KeyError;
use crate::key::PublicKey;
use crate::tlv::{BIT_STRING, SEQUENCE, positive_integer, tlv};

/// A JWK with the members that bundles use. Others are ignored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Jwk {
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub(super) key_use: Option<String>,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x5c: Option<Vec<String>>,
}

/// The elliptic curves: name, length of a coordinate in bytes, algorithm identifier.
const CURVES: [(&str, usize, AlgorithmIdentifier); 3] =
    [("P-256", 32, alg_id::ECDSA_P256), ("P-384", 48, alg_id::ECDSA_P384), ("P-521", 66, alg_id::ECDSA_P521)];

impl Jwk {
    /// From a SubjectPublicKeyInfo.
    pub(super) fn from_public_key(spki: &[u8]) -> Result<Self, KeyError> {
        let key = PublicKey::parse(spki)?;
        let encode = |octets: &[u8]| Some(BASE64_URL.encode(octets));
        if key.algorithm == alg_id::RSA_ENCRYPTION {
            let (modulus, exponent) = key.rsa()?;
            return Ok(Self { kty: "RSA".to_owned(), n: encode(modulus), e: encode(exponent), ..Self::default() });
        }
        if key.algorithm == alg_id::ED25519 {
            let crv = Some("Ed25519".to_owned());
            return Ok(Self { kty: "OKP".to_owned(), crv, x: encode(key.bits), ..Self::default() });
        }
        let (name, len, _) = CURVES.iter().find(|curve| curve.2 == key.algorithm).ok_or(KeyError::Unsupported)?;
        match key.bits.split_first() {
            Some((4, point)) if point.len() == len * 2 => {
                let (x, y) = point.split_at(*len);
                let crv = Some((*name).to_owned());
                Ok(Self { kty: "EC".to_owned(), crv, x: encode(x), y: encode(y), ..Self::default() })
            }
            _ => Err(KeyError::Malformed { reason: "not an uncompressed point".to_owned() }),
        }
    }

    /// To a SubjectPublicKeyInfo. The key is checked as far as a signature verification would: a point lies on its curve.
    pub(super) fn to_public_key(&self) -> Result<Vec<u8>, KeyError> {
        let (algorithm, bits, verifier): (_, _, &'static dyn VerificationAlgorithm) = match self.kty.as_str() {
            "RSA" => {
                let (n, e) = (member("n", self.n.as_ref())?, member("e", self.e.as_ref())?);
                let key = tlv(SEQUENCE, &[&positive_integer(stripped(&n)?), &positive_integer(stripped(&e)?)]);
                (alg_id::RSA_ENCRYPTION, key, &RSA_PKCS1_2048_8192_SHA256)
            }
            "EC" => {
                let name = self.crv.as_deref().ok_or(KeyError::Unsupported)?;
                let (_, len, algorithm) = CURVES.iter().find(|curve| curve.0 == name).ok_or(KeyError::Unsupported)?;
                let (x, y) = (member("x", self.x.as_ref())?, member("y", self.y.as_ref())?);
                if x.len() != *len || y.len() != *len {
                    return Err(KeyError::Malformed { reason: format!("coordinates of {name} have {len} bytes") });
                }
                let verifier: &'static dyn VerificationAlgorithm = match *len {
                    32 => &ECDSA_P256_SHA256_ASN1,
                    48 => &ECDSA_P384_SHA384_ASN1,
                    _ => &ECDSA_P521_SHA512_ASN1,
                };
                (*algorithm, [&[4], x.as_slice(), y.as_slice()].concat(), verifier)
            }
            "OKP" if self.crv.as_deref() == Some("Ed25519") => {
                (alg_id::ED25519, member("x", self.x.as_ref())?, &ED25519)
            }
            _ => return Err(KeyError::Unsupported),
        };
        ParsedPublicKey::new(verifier, &bits).map_err(|error| KeyError::Malformed { reason: error.to_string() })?;
        let spki = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[algorithm.as_ref()]), &tlv(BIT_STRING, &[&[0], &bits])]);
        PublicKey::parse(&spki)?;
        Ok(spki)
    }
}

fn member(name: &str, value: Option<&String>) -> Result<Vec<u8>, KeyError> {
    let value = value.ok_or_else(|| KeyError::Malformed { reason: format!("no {name:?}") })?;
    BASE64_URL.decode(value).map_err(|_| KeyError::Malformed { reason: format!("{name:?} is not base64url") })
}

/// Base64urlUInt (RFC 7518, section 2): no leading zero octets.
fn stripped(octets: &[u8]) -> Result<&[u8], KeyError> {
    match octets.first() {
        Some(0) | None => Err(KeyError::Malformed { reason: "a number is empty or has leading zeros".to_owned() }),
        Some(_) => Ok(octets),
    }
}
