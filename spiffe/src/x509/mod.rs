//! X.509-SVIDs (X509-SVID.md): build and validate.

mod authority;
mod csr;
mod issue;
mod key_id;
mod serial;
mod shown;
mod since_ever;
mod subject;
mod validate;
mod verify;

pub use authority::{AuthorityChainError, CertificateFacts, VerifiedAuthority, verify_authority};
pub use csr::{CsrError, MAX_CSR_LEN, MAX_CSR_URIS, OtherName, VerifiedCsr, verify_csr};
pub use issue::{
    CaRequest, CaTemplate, IntermediateTemplate, IssueError, Issuer, LeafTemplate, SignatureAlgorithm,
    SuccessorTemplate, TbsCertificate, downstream_subject,
};
pub use key_id::subject_key_id;
pub use serial::SerialNumber;
pub use shown::{ShownCertificate, shown_chain};
pub use since_ever::{Originals, OverOriginal, readable};
pub use subject::{MAX_SUBJECT_LEN, Subject, SubjectError};
pub use validate::{SvidError, X509Svid};
pub use verify::{BundleSource, LONGEST_ABSENCE, Purpose, VerifiedSvid, may_sign, verify_chain, verify_successor};

/// Longest certificate that is read or issued, in bytes. An RSA-8192 leaf with the longest SPIFFE ID has 5 KiB; the rest is
/// room for DNS names. A TLS handshake message carries 64 KiB.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;
/// Most certificates in a chain; crates.io `spiffe` draws the same line.
pub const MAX_CHAIN_LEN: usize = 16;
/// Most DNS names of one SVID: far above use, and 128 names of 100 bytes fit in a certificate.
pub const MAX_DNS_NAMES: usize = 128;
