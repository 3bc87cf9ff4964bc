//! The subject key identifier of a certificate (RFC 5280, section 4.2.1.2), by which operators name authorities.

use std::fmt::Write as _;

use der::Decode;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

/// The subject key identifier of a certificate (DER), lower-case hex; `None` where it has none or is no certificate.
pub fn subject_key_id(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(&super::readable(certificate)).ok()?;
    let (_critical, identifier) = certificate.tbs_certificate().get_extension::<SubjectKeyIdentifier>().ok()??;
    let mut hex = String::with_capacity(2 * identifier.0.as_bytes().len());
    for byte in identifier.0.as_bytes() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Some(hex)
}
