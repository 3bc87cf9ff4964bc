//! Certificate signing requests: parsed and proven in one step (RFC 2986).
//!
//! Only the public key, URI SANs and DNS SANs are read; the subject and other SANs are noted for who decides about them (minting),
//! and everything else that a request asks for is ignored.

use der::asn1::BitStringRef;
use der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::{CertReqInfo, ExtensionReq};

use super::MAX_DNS_NAMES;
use crate::key::{KeyError, PublicKey, is_algorithm};

/// Longest request, in bytes: an RSA-8192 key with signature, and SANs up to their limits, fit twice.
pub const MAX_CSR_LEN: usize = 16 * 1024;
/// Most URI SANs in a request. An SVID has one; a few more are read so that the refusal can name their number.
pub const MAX_CSR_URIS: usize = 16;

/// A request whose own signature was verified, so its sender holds the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCsr {
    /// SubjectPublicKeyInfo as it stood in the request, DER.
    pub public_key: Vec<u8>,
    /// URI SANs asked for, in order.
    pub uris: Vec<String>,
    /// DNS SANs asked for, in order.
    pub dns_names: Vec<String>,
    /// SANs of other kinds asked for, in order.
    pub other_names: Vec<OtherName>,
    /// The Name asked for as subject, as it stood in the request, DER.
    pub subject: Vec<u8>,
}

/// A kind of subject alternative name that no SVID has (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherName {
    /// rfc822Name.
    Email,
    /// iPAddress.
    Ip,
    /// directoryName.
    Directory,
    /// ediPartyName.
    EdiParty,
    /// registeredID.
    RegisteredId,
    /// otherName.
    Other,
}

impl std::fmt::Display for OtherName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Email => "an email address",
            Self::Ip => "an IP address",
            Self::Directory => "a directory name",
            Self::EdiParty => "an EDI party name",
            Self::RegisteredId => "a registered ID",
            Self::Other => "another name",
        })
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS#10 request.
    #[error("malformed CSR: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// Too long, or too many names.
    #[error("CSR has {got} {what}, of at most {limit}")]
    TooLarge {
        /// Bytes, URI SANs or DNS SANs.
        what: &'static str,
        /// How many there were.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// The signature is not by the key in the request.
    #[error("CSR signature verification failed")]
    Signature,
    /// A key that SVIDs may not have.
    #[error("the CSR's key can't be certified")]
    UnsupportedKey(#[from] KeyError),
    /// A signature algorithm that is unknown, weak, or not one of the key's.
    #[error("unsupported CSR signature algorithm for its key")]
    UnsupportedSignature,
}

impl From<der::Error> for CsrError {
    fn from(error: der::Error) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

/// Parses a DER request and verifies its signature over the bytes that arrived. Checks, in order: size; form, without trailing
/// bytes; a key that certificates may have (P-256, P-384, P-521, RSA of 2048 to 8192 bits, Ed25519); the signature; number of names.
pub fn verify_csr(der: &[u8]) -> Result<VerifiedCsr, CsrError> {
    limit("bytes", der.len(), MAX_CSR_LEN)?;
    let mut reader = SliceReader::new(der)?;
    let (signed, algorithm, signature) = reader
        .sequence(|body| Ok::<_, der::Error>((body.tlv_bytes()?, body.tlv_bytes()?, BitStringRef::decode(body)?)))?;
    reader.finish()?;
    let info = CertReqInfo::from_der(signed)?;
    let public_key = info.public_key.to_der()?;
    let key = PublicKey::parse(&public_key)?;
    let signature = signature
        .as_bytes()
        .ok_or_else(|| CsrError::Malformed { reason: "signature is not a whole number of bytes".to_owned() })?;
    key.verification_algorithms()
        .find(|candidate| is_algorithm(&candidate.signature_alg_id(), algorithm))
        .ok_or(CsrError::UnsupportedSignature)?
        .verify_signature(key.bits, signed, signature)
        .map_err(|_| CsrError::Signature)?;
    let Names { uris, dns_names, other_names } = names(&info)?;
    Ok(VerifiedCsr { public_key, uris, dns_names, other_names, subject: info.subject.to_der()? })
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), CsrError> {
    if got > limit {
        return Err(CsrError::TooLarge { what, got, limit });
    }
    Ok(())
}

#[derive(Default)]
struct Names {
    uris: Vec<String>,
    dns_names: Vec<String>,
    other_names: Vec<OtherName>,
}

fn names(info: &CertReqInfo) -> Result<Names, CsrError> {
    let once = |what: &str| CsrError::Malformed { reason: format!("{what} occurs more than once") };
    let mut request: Option<ExtensionReq> = None;
    for attribute in info.attributes.iter() {
        if attribute.oid != <ExtensionReq as const_oid::AssociatedOid>::OID {
            continue;
        }
        for value in attribute.values.iter() {
            if request.replace(value.decode_as()?).is_some() {
                return Err(once("extensionRequest"));
            }
        }
    }
    let mut san: Option<SubjectAltName> = None;
    let extensions: Vec<Extension> = request.map(|request| request.0).unwrap_or_default();
    for extension in &extensions {
        if extension.extn_id != const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME {
            continue;
        }
        if san.replace(SubjectAltName::from_der(extension.extn_value.as_bytes())?).is_some() {
            return Err(once("subjectAltName"));
        }
    }
    let mut names = Names::default();
    for name in san.map(|san| san.0).unwrap_or_default() {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => names.uris.push(uri.to_string()),
            GeneralName::DnsName(name) => names.dns_names.push(name.to_string()),
            GeneralName::Rfc822Name(_) => names.other_names.push(OtherName::Email),
            GeneralName::IpAddress(_) => names.other_names.push(OtherName::Ip),
            GeneralName::DirectoryName(_) => names.other_names.push(OtherName::Directory),
            GeneralName::EdiPartyName(_) => names.other_names.push(OtherName::EdiParty),
            GeneralName::RegisteredId(_) => names.other_names.push(OtherName::RegisteredId),
            GeneralName::OtherName(_) => names.other_names.push(OtherName::Other),
        }
    }
    limit("URI SANs", names.uris.len(), MAX_CSR_URIS)?;
    limit("DNS SANs", names.dns_names.len(), MAX_DNS_NAMES)?;
    Ok(names)
}
