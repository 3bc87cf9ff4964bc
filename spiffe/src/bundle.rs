//! Trust bundles (SPIFFE_Trust_Domain_and_Bundle.md).

use crate::TrustDomain;

/// An X.509 authority of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Authority {
    /// The CA certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether agents must replace what it signed.
    pub tainted: bool,
}

/// A JWT authority of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What one trust domain's SVIDs are verified against. Bundles of two trust domains are never merged.
#[derive(Clone, Debug, PartialEq, Eq)]
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
