//! A CA certificate below an upstream authority: the request for it (RFC 2986), and what the upstream signs.
//!
//! Subject and extensions are those of a self-signed one, except that the subject has no serial number: the request does not know it.

use der::{Decode, Encode};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};

use super::{
    Fields, IssueError, SignatureAlgorithm, TbsCertificate, authority_key_identifier, encode_tbs, extension,
    key_identifier, name_of, subject_alt_name, subject_key_identifier,
};
use crate::SpiffeId;
use crate::tlv::{SEQUENCE, SET, explicit, tlv};
use crate::x509::SerialNumber;

/// The content of the OID extensionRequest, 1.2.840.113549.1.9.14 (PKCS#9).
const EXTENSION_REQUEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];

/// A request for a CA certificate: the trust domain's ID as the only URI SAN.
#[derive(Clone, Debug)]
pub struct CaRequest<'a> {
    /// The trust domain's ID.
    pub spiffe_id: &'a SpiffeId,
    /// The CA key's SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// Subject country names.
    pub country: &'a [String],
    /// Subject organisation names.
    pub organization: &'a [String],
    /// Subject common name; empty for none.
    pub common_name: &'a str,
}

impl CaRequest<'_> {
    /// Encodes the CertificationRequestInfo that the CA key has to sign; `assemble` makes the request of it.
    pub fn to_tbs(&self, algorithm: SignatureAlgorithm) -> Result<TbsCertificate, IssueError> {
        let Self { spiffe_id, public_key, country, organization, common_name } = self;
        if !spiffe_id.is_trust_domain() {
            return Err(IssueError::CaPath { id: (*spiffe_id).clone() });
        }
        let subject = name_of(country, organization, None, common_name, None);
        let extensions = tlv(SEQUENCE, &[&subject_alt_name(spiffe_id, &[])?]);
        let attribute = tlv(SEQUENCE, &[&tlv(0x06, &[&EXTENSION_REQUEST]), &tlv(SET, &[&extensions])]);
        let version = [0x02, 1, 0];
        let der = tlv(SEQUENCE, &[&version, &subject, public_key, &tlv(explicit(0), &[&attribute])]);
        Ok(TbsCertificate { der, algorithm })
    }
}

/// The subject of a downstream server's CA, DER: as SPIRE makes it, with how deep it hangs as organisational unit.
pub fn downstream_subject(
    country: &[String],
    organization: &[String],
    common_name: &str,
    depth: usize,
    serial: &SerialNumber,
) -> Vec<u8> {
    name_of(country, organization, Some(&format!("DOWNSTREAM-{depth}")), common_name, Some(serial))
}

/// The CA certificate that an upstream authority signs.
#[derive(Clone, Debug)]
pub struct IntermediateTemplate<'a> {
    /// The trust domain's ID.
    pub spiffe_id: &'a SpiffeId,
    /// The CA key's SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// The Name of the request, DER.
    pub subject: &'a [u8],
    /// Serial number, the upstream's own.
    pub serial: &'a SerialNumber,
    /// Validity, inclusive.
    pub not_before: UnixTime,
    /// Validity, inclusive; at most the upstream's.
    pub not_after: UnixTime,
}

impl IntermediateTemplate<'_> {
    /// Encodes the TBSCertificate that the key of `upstream`, a certificate, has to sign.
    pub fn to_tbs(&self, upstream: &[u8], algorithm: SignatureAlgorithm) -> Result<TbsCertificate, IssueError> {
        let Self { spiffe_id, public_key, subject, serial, not_before, not_after } = self;
        if !spiffe_id.is_trust_domain() {
            return Err(IssueError::CaPath { id: (*spiffe_id).clone() });
        }
        let malformed =
            |error: der::Error| IssueError::Malformed { what: "upstream certificate", reason: error.to_string() };
        let upstream = Certificate::from_der(upstream).map_err(malformed)?;
        let upstream = upstream.tbs_certificate();
        let issuer_not_after = upstream.validity().not_after.to_unix_duration().as_secs();
        if not_after.as_secs() > issuer_not_after {
            return Err(IssueError::OutlivesIssuer { not_after: not_after.as_secs(), issuer_not_after });
        }
        let issuer_key_id = match upstream.get_extension::<SubjectKeyIdentifier>().map_err(malformed)? {
            Some((_critical, SubjectKeyIdentifier(id))) => id.as_bytes().to_vec(),
            None => key_identifier(&upstream.subject_public_key_info().to_der().map_err(malformed)?)?,
        };
        let encode = || -> der::Result<Vec<u8>> {
            Ok([
                extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
                extension(&BasicConstraints { ca: true, path_len_constraint: None })?,
                authority_key_identifier(&issuer_key_id)?,
            ]
            .concat())
        };
        let mut extensions = encode().map_err(malformed)?;
        extensions.extend(subject_key_identifier(&key_identifier(public_key)?));
        extensions.extend(subject_alt_name(spiffe_id, &[])?);
        encode_tbs(Fields {
            serial,
            algorithm,
            issuer: &upstream.subject().to_der().map_err(malformed)?,
            not_before: *not_before,
            not_after: *not_after,
            subject,
            public_key,
            extensions: &extensions,
        })
    }
}
