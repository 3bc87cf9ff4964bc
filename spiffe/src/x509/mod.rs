//! X.509-SVIDs (X509-SVID.md): build and validate.

mod csr;
mod issue;
mod validate;

pub use csr::{CsrError, VerifiedCsr, verify_csr};
pub use issue::{CaTemplate, IssueError, Issuer, LeafTemplate, SerialNumber, SignatureAlgorithm, TbsCertificate};
pub use validate::{BundleSource, Purpose, SvidError, VerifiedSvid, X509Svid, verify_chain};
