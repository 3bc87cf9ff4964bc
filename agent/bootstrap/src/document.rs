//! Bundles as documents (`trust_bundle_format`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use plastron_spiffe::bundle::MAX_DOCUMENT_LEN;
use plastron_spiffe::{Bundle, BundleError, TrustDomain};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `trust_bundle_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BundleFormat {
    /// Certificates.
    #[default]
    Pem,
    /// A SPIFFE bundle document.
    Spiffe,
}

impl BundleFormat {
    pub(crate) fn parse(self, trust_domain: TrustDomain, document: &[u8]) -> Result<Bundle, BundleError> {
        match self {
            Self::Pem => Bundle::from_pem(trust_domain, document),
            Self::Spiffe => Bundle::from_spiffe_json(trust_domain, document),
        }
    }
}

/// A file, of which no more is read than it takes to see that it is too long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_DOCUMENT_LEN).unwrap_or(u64::MAX).saturating_add(1);
    let mut document = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut document)?;
    Ok(document)
}

/// A time as services on this machine are told it.
pub(crate) fn rfc3339(at: rustls_pki_types::UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
