//! Why no certificate can be made.

use crate::SpiffeId;
use crate::x509::{MAX_CERTIFICATE_LEN, MAX_DNS_NAMES};

/// Why no certificate can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A leaf needs a SPIFFE ID with a path.
    #[error("{id} names a trust domain; a leaf SVID needs a path")]
    RootPath {
        /// The ID.
        id: SpiffeId,
    },
    /// A signing certificate carries the trust domain's own ID.
    #[error("{id} has a path; a signing certificate names the trust domain")]
    CaPath {
        /// The ID.
        id: SpiffeId,
    },
    /// A public key or CA certificate that does not parse.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// What does not parse.
        reason: String,
    },
    /// Validity that ends before it begins.
    #[error("validity ends before it begins")]
    Validity,
    /// A leaf that would be valid for longer than its CA certificate.
    #[error("a leaf valid until {not_after} would outlive its CA certificate, valid until {issuer_not_after}")]
    OutlivesIssuer {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        issuer_not_after: u64,
    },
    /// More DNS names than a certificate may have.
    #[error("{got} DNS names, of at most {MAX_DNS_NAMES}")]
    TooManyDnsNames {
        /// How many there were.
        got: usize,
    },
    /// A certificate that no one would accept.
    #[error("the certificate has {len} bytes, of at most {MAX_CERTIFICATE_LEN}")]
    TooLarge {
        /// Its length.
        len: usize,
    },
}
