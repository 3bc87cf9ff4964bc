//! A CA that names the next one: the new CA's name and key in a certificate that the old CA signs.
//!
//! It is what leads from an authority that a peer knew last to the one that signs now (see `verify_successor`).

use der::{Decode, Encode};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

use super::{
    Fields, IssueError, Issuer, TbsCertificate, encode_tbs, extension, key_identifier, subject_alt_name,
    subject_key_identifier,
};
use crate::SpiffeId;
use crate::x509::{MAX_CERTIFICATE_LEN, SerialNumber};

/// A certificate over an existing CA's subject and key: URI SAN `spiffe://td`, key usage keyCertSign critical, CA true with path length 0.
#[derive(Clone, Debug)]
pub struct SuccessorTemplate<'a> {
    /// The trust domain's ID.
    pub spiffe_id: &'a SpiffeId,
    /// The certificate of the CA that follows, DER.
    pub successor: &'a [u8],
    /// Serial number.
    pub serial: &'a SerialNumber,
    /// Validity, inclusive.
    pub not_before: UnixTime,
    /// Validity, inclusive. It may outlive the issuer's: that is what the certificate is for.
    pub not_after: UnixTime,
}

impl SuccessorTemplate<'_> {
    /// Encodes the TBSCertificate that the key of the CA before has to sign.
    pub fn to_tbs(&self, predecessor: &Issuer) -> Result<TbsCertificate, IssueError> {
        let Self { spiffe_id, successor, serial, not_before, not_after } = self;
        if !spiffe_id.is_trust_domain() {
            return Err(IssueError::CaPath { id: (*spiffe_id).clone() });
        }
        let malformed = |reason: String| IssueError::Malformed { what: "CA certificate", reason };
        if successor.len() > MAX_CERTIFICATE_LEN {
            return Err(malformed(format!("{} bytes, of at most {MAX_CERTIFICATE_LEN}", successor.len())));
        }
        let certificate = Certificate::from_der(successor).map_err(|error| malformed(error.to_string()))?;
        let tbs = certificate.tbs_certificate();
        let encode = || -> der::Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
            let constraints = [
                extension(&KeyUsage(KeyUsages::KeyCertSign.into()))?,
                extension(&BasicConstraints { ca: true, path_len_constraint: Some(0) })?,
            ];
            Ok((tbs.subject().to_der()?, tbs.subject_public_key_info().to_der()?, constraints.concat()))
        };
        let (subject, public_key, constraints) = encode().map_err(|error| malformed(error.to_string()))?;
        let extensions = [
            constraints.as_slice(),
            &subject_key_identifier(&key_identifier(&public_key)?),
            &predecessor.authority_key_identifier,
            &subject_alt_name(spiffe_id, &[])?,
        ]
        .concat();
        encode_tbs(Fields {
            serial,
            algorithm: predecessor.algorithm,
            issuer: &predecessor.name,
            not_before: *not_before,
            not_after: *not_after,
            subject: &subject,
            public_key: &public_key,
            extensions: &extensions,
        })
    }
}
