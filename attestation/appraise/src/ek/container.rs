//! The container in which a TPM keeps a certificate: read leniently, so that the certificate itself can be read strictly.
//!
//! NV indices are larger than their certificate (padding of 0x00, 0x11 or 0xff, or whatever was there before), and some hold the
//! header of TPM 1.2 in front of it: a stored certificate (tag 0x1001, kind, length) and within it a full one (tag 0x1002).

use crate::AppraiseError;
use crate::certificate::MAX_CERTIFICATE_LEN;

/// Largest container: NV indices of certificates have at most a few KiB.
pub(crate) const MAX_CONTAINER_LEN: usize = 2 * MAX_CERTIFICATE_LEN;

/// Tag of a stored certificate.
const HEADER_TAG: [u8; 2] = [0x10, 0x01];

/// Length of the header, with and without the tag of a full certificate.
const HEADER_LENGTHS: [usize; 2] = [7, 5];

/// DER SEQUENCE with a length of two bytes: how every certificate begins.
const SEQUENCE: [u8; 2] = [0x30, 0x82];

/// The bytes of the first DER value in a container.
pub fn certificate_in_container<'a>(which: &'static str, container: &'a [u8]) -> Result<&'a [u8], AppraiseError> {
    if container.len() > MAX_CONTAINER_LEN {
        return Err(AppraiseError::CertificateTooLong { which, len: container.len(), limit: MAX_CONTAINER_LEN });
    }
    let bytes = if container.starts_with(&HEADER_TAG) {
        HEADER_LENGTHS
            .iter()
            .filter_map(|length| container.get(*length..))
            .find(|rest| rest.starts_with(&SEQUENCE))
            .unwrap_or(container)
    } else {
        container
    };
    let malformed = |reason: &str| AppraiseError::CertificateMalformed { which, reason: reason.to_owned() };
    let length = match bytes {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) + 4,
        _ => return Err(malformed("no DER SEQUENCE at the beginning")),
    };
    bytes.get(..length).ok_or_else(|| malformed("it ends before its DER length"))
}
