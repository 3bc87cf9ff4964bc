//! Bundles as PEM: the form of `trust_bundle_path` and of `bundle show`. Only X.509 authorities have one.

use der::pem::{LineEnding, encode_string};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Bundle, BundleError, MAX_AUTHORITIES, MAX_DOCUMENT_LEN, X509Authority};
use crate::TrustDomain;

impl Bundle {
    /// Reads the X.509 authorities of `trust_domain`. Text between the blocks and blocks of other types are skipped, but every
    /// CERTIFICATE block must be a CA's, and there must be one.
    pub fn from_pem(trust_domain: TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        if pem.len() > MAX_DOCUMENT_LEN {
            return Err(BundleError::TooLarge { what: "bytes in a bundle", got: pem.len(), limit: MAX_DOCUMENT_LEN });
        }
        let mut bundle = Self::empty(trust_domain);
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| BundleError::Pem { reason: error.to_string() })?;
            if bundle.x509_authorities.len() == MAX_AUTHORITIES {
                let got = MAX_AUTHORITIES + 1;
                return Err(BundleError::TooLarge { what: "authorities", got, limit: MAX_AUTHORITIES });
            }
            bundle.x509_authorities.push(X509Authority::parse(certificate.as_ref().to_vec())?);
        }
        if bundle.x509_authorities.is_empty() {
            return Err(BundleError::NoCertificate);
        }
        Ok(bundle)
    }

    /// The X.509 authorities as PEM blocks.
    pub fn to_pem(&self) -> String {
        let block = |authority: &X509Authority| {
            // Encoding fails only where the length overflows, which a certificate in memory can't.
            encode_string("CERTIFICATE", LineEnding::LF, &authority.certificate).unwrap_or_default()
        };
        self.x509_authorities.iter().map(block).collect()
    }
}
