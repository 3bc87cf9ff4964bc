//! Trust bundles (SPIFFE_Trust_Domain_and_Bundle.md): what one trust domain's SVIDs are verified against.

mod concatenated;
mod jwk;
mod jwks;
mod pem;

use der::{Decode, Encode};
use rustls_pki_types::alg_id;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::key::PublicKey;
use crate::x509::{MAX_CERTIFICATE_LEN, readable};
use crate::{KeyError, TrustDomain};

pub use jwks::MAX_DOCUMENT_LEN;

/// Most authorities of one kind in a bundle that is read. A domain has two or three per rotation; SPIRE servers without a
/// common upstream add theirs.
pub const MAX_AUTHORITIES: usize = 1024;

/// An X.509 authority of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct X509Authority {
    /// The CA certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether agents must replace what it signed.
    pub tainted: bool,
}

impl X509Authority {
    /// Reads a CA certificate. Checks, in order: size; form, without trailing bytes; CA true; keyCertSign, where there is a key
    /// usage; a supported key. It need not be self-signed and may be expired.
    pub fn parse(certificate: Vec<u8>) -> Result<Self, BundleError> {
        if certificate.len() > MAX_CERTIFICATE_LEN {
            return Err(BundleError::TooLarge {
                what: "bytes in a certificate",
                got: certificate.len(),
                limit: MAX_CERTIFICATE_LEN,
            });
        }
        public_key(&certificate)?;
        Ok(Self { certificate, tainted: false })
    }
}

/// The SubjectPublicKeyInfo of a CA certificate.
fn public_key(certificate: &[u8]) -> Result<Vec<u8>, BundleError> {
    let certificate = Certificate::from_der(&readable(certificate))?;
    let tbs = certificate.tbs_certificate();
    match tbs.get_extension::<BasicConstraints>()? {
        Some((_, BasicConstraints { ca: true, path_len_constraint: _ })) => {}
        _ => return Err(BundleError::NotACa),
    }
    if let Some((_, usage)) = tbs.get_extension::<KeyUsage>()?
        && !usage.key_cert_sign()
    {
        return Err(BundleError::NotACa);
    }
    let spki = tbs.subject_public_key_info().to_der()?;
    PublicKey::parse(&spki)?;
    Ok(spki)
}

/// A JWT authority of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwtAuthority {
    /// `kid`.
    pub key_id: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Unix seconds.
    pub expires_at: i64,
    /// Whether tokens that it signed must no longer be used.
    pub tainted: bool,
}

impl JwtAuthority {
    /// A key that tokens can be verified with. Checks, in order: a key ID; a supported key. Ed25519 is none: no algorithm of JWT-SVID.md
    /// goes with it.
    pub fn parse(key_id: String, public_key: Vec<u8>, expires_at: i64) -> Result<Self, BundleError> {
        if key_id.is_empty() {
            return Err(BundleError::NoKeyId);
        }
        if PublicKey::parse(&public_key)?.algorithm == alg_id::ED25519 {
            return Err(BundleError::Key(KeyError::Unsupported));
        }
        Ok(Self { key_id, public_key, expires_at, tainted: false })
    }
}

/// What one trust domain's SVIDs are verified against. Bundles of two trust domains are never merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bundle {
    /// Whose it is.
    pub trust_domain: TrustDomain,
    /// X.509 authorities, oldest first.
    pub x509_authorities: Vec<X509Authority>,
    /// JWT authorities, oldest first.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// Seconds; 0 for none.
    pub refresh_hint: i64,
    /// Rises with every change of the content.
    pub sequence_number: u64,
}

impl Bundle {
    /// A bundle that trusts no one yet.
    pub fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            refresh_hint: 0,
            sequence_number: 0,
        }
    }
}

/// Why a document is not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Too long, or too many authorities.
    #[error("{got} {what}, of at most {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Not the JSON of a JWK set, or a member of it with the wrong type.
    #[error("malformed bundle document: {reason}")]
    Json {
        /// What the reader said.
        reason: String,
    },
    /// Not PEM.
    #[error("malformed PEM: {reason}")]
    Pem {
        /// What the reader said.
        reason: String,
    },
    /// PEM without a certificate in it.
    #[error("no certificate found; a bundle file holds PEM blocks of type CERTIFICATE")]
    NoCertificate,
    /// A certificate that does not parse.
    #[error("malformed certificate: {reason}")]
    Certificate {
        /// What does not parse.
        reason: String,
    },
    /// A leaf certificate among the authorities.
    #[error("a certificate is not that of a CA that may sign certificates")]
    NotACa,
    /// A JWT authority that no token could name.
    #[error("missing key ID")]
    NoKeyId,
    /// A key that no authority may have.
    #[error("an authority's key can't be used")]
    Key(#[from] KeyError),
}

impl From<der::Error> for BundleError {
    fn from(error: der::Error) -> Self {
        Self::Certificate { reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
