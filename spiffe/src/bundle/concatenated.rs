//! Bundles as concatenated DER: the form in which the Workload API carries them (SPIFFE_Workload_API.md, section 5.2).

use der::{Decode as _, Header, Reader as _, SliceReader};

use super::{Bundle, BundleError, MAX_AUTHORITIES, MAX_DOCUMENT_LEN, X509Authority};
use crate::TrustDomain;

impl Bundle {
    /// The X.509 authorities as concatenated DER.
    pub fn x509_authorities_der(&self) -> Vec<u8> {
        self.x509_authorities.iter().flat_map(|authority| authority.certificate.iter().copied()).collect()
    }

    /// Reads the X.509 authorities of `trust_domain`: nothing but CA certificates one after another, and at least one.
    pub fn from_x509_authorities_der(trust_domain: TrustDomain, der: &[u8]) -> Result<Self, BundleError> {
        if der.len() > MAX_DOCUMENT_LEN {
            return Err(BundleError::TooLarge { what: "bytes in a bundle", got: der.len(), limit: MAX_DOCUMENT_LEN });
        }
        let mut bundle = Self::empty(trust_domain);
        let mut rest = der;
        while !rest.is_empty() {
            if bundle.x509_authorities.len() == MAX_AUTHORITIES {
                let got = MAX_AUTHORITIES + 1;
                return Err(BundleError::TooLarge { what: "authorities", got, limit: MAX_AUTHORITIES });
            }
            let cut = || BundleError::Certificate { reason: "it is cut short".to_owned() };
            let (certificate, tail) = first_len(rest)?.and_then(|len| rest.split_at_checked(len)).ok_or_else(cut)?;
            bundle.x509_authorities.push(X509Authority::parse(certificate.to_vec())?);
            rest = tail;
        }
        if bundle.x509_authorities.is_empty() {
            return Err(BundleError::NoCertificate);
        }
        Ok(bundle)
    }
}

/// The length of the first element, its header included; `None` where it overflows. Never 0.
fn first_len(der: &[u8]) -> Result<Option<usize>, der::Error> {
    let mut reader = SliceReader::new(der)?;
    let header = Header::decode(&mut reader)?;
    let (head, body) = (usize::try_from(reader.position()), usize::try_from(u32::from(header.length())));
    Ok(head.ok().zip(body.ok()).and_then(|(head, body)| head.checked_add(body)))
}
