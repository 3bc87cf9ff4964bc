//! Why nothing is minted: one variant per check.

use plastron_spiffe::x509::{CsrError, OtherName, SubjectError};
use plastron_spiffe::{DnsNameError, SpiffeId, SpiffeIdError, TrustDomain};

use crate::audience::AudienceError;
use crate::audit::AuditSinkError;
use crate::ca::SignError;

/// Why nothing is minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// InvalidArgument.
    #[error("missing CSR")]
    MissingCsr,
    /// Its form or its key: InvalidArgument.
    #[error(transparent)]
    Csr(CsrError),
    /// Its signature is not by its key: InvalidArgument.
    #[error("failed to verify CSR signature")]
    CsrSignature,
    /// InvalidArgument.
    #[error("CSR URI SAN is required")]
    NoUri,
    /// The first one does not win: InvalidArgument.
    #[error("only one URI SAN is expected, and the CSR has {got}")]
    SeveralUris {
        /// How many there were.
        got: usize,
    },
    /// No SPIFFE ID: InvalidArgument.
    #[error("CSR URI SAN is invalid")]
    Uri(#[source] SpiffeIdError),
    /// Not a workload's: InvalidArgument.
    #[error("CSR URI SAN is invalid")]
    UriNotAWorkload(#[source] NotAWorkload),
    /// InvalidArgument.
    #[error("the CSR asks for {kind} as SAN, and an SVID has URI and DNS names only")]
    OtherName {
        /// The first of them.
        kind: OtherName,
    },
    /// InvalidArgument.
    #[error("CSR DNS name is invalid")]
    DnsName(#[source] DnsNameError),
    /// InvalidArgument.
    #[error("CSR DNS name contains a wildcard that covers another non-wildcard name")]
    DnsNameOverlap(#[source] DnsNameError),
    /// InvalidArgument.
    #[error("CSR subject is invalid")]
    Subject(#[from] SubjectError),
    /// The CA did not sign: Internal, or Unavailable and ResourceExhausted by what the key store said.
    #[error("failed to sign X509-SVID")]
    SignX509(#[source] SignError),
    /// InvalidArgument.
    #[error("invalid SPIFFE ID")]
    NotAWorkload(#[source] NotAWorkload),
    /// For nobody, or for too many: InvalidArgument.
    #[error(transparent)]
    Audience(#[from] AudienceError),
    /// The JWT key did not sign: Internal, or Unavailable and ResourceExhausted by what the key store said.
    #[error("failed to sign JWT-SVID")]
    SignJwt(#[source] SignError),
    /// It was signed, and its audit line could not be written: Unavailable.
    #[error("no SVID is issued unrecorded")]
    Audit(#[from] AuditSinkError),
}

impl MintError {
    pub(super) fn csr(error: CsrError) -> Self {
        match error {
            CsrError::Signature => Self::CsrSignature,
            CsrError::Malformed { .. }
            | CsrError::TooLarge { .. }
            | CsrError::UnsupportedKey(_)
            | CsrError::UnsupportedSignature => Self::Csr(error),
        }
    }

    pub(super) fn dns_name(error: DnsNameError) -> Self {
        match error {
            DnsNameError::Overlap { .. } => Self::DnsNameOverlap(error),
            _ => Self::DnsName(error),
        }
    }
}

/// Why an ID is not one that a workload can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAWorkload {
    /// Another trust domain's.
    #[error("\"{id}\" is not a member of trust domain \"{trust_domain}\"")]
    OtherTrustDomain {
        /// The ID.
        id: SpiffeId,
        /// The server's.
        trust_domain: TrustDomain,
    },
    /// The trust domain's own.
    #[error("\"{id}\" is not a workload in trust domain \"{trust_domain}\"; path is empty")]
    RootPath {
        /// The ID.
        id: SpiffeId,
        /// The server's.
        trust_domain: TrustDomain,
    },
    /// A server's or an agent's.
    #[error("\"{id}\" is not a workload in trust domain \"{trust_domain}\"; path is in the reserved namespace")]
    Reserved {
        /// The ID.
        id: SpiffeId,
        /// The server's.
        trust_domain: TrustDomain,
    },
}
