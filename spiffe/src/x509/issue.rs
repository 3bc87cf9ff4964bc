//! Certificates to be signed: leaf SVIDs and signing certificates (X509-SVID.md, sections 2 to 4). The signature is made
//! elsewhere (a `KeyStore`), over `TbsCertificate::as_bytes`.
//!
//! Issuing is a hot path: everything that depends on the CA alone is encoded once, in `Issuer`.

mod error;
mod intermediate;
mod successor;

use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{COMMON_NAME, COUNTRY_NAME, ORGANIZATION_NAME, ORGANIZATIONAL_UNIT_NAME, SERIAL_NUMBER};
use const_oid::db::rfc5280::{
    ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH,
};
use der::asn1::{BitStringRef, GeneralizedTime, OctetString, UtcTime};
use der::{Decode, Encode};
use rustls_pki_types::UnixTime;
use sha1::{Digest, Sha1};
use spki::SubjectPublicKeyInfoRef;
use x509_cert::Certificate;
use x509_cert::ext::ToExtension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

use super::subject::Subject;
use super::{MAX_CERTIFICATE_LEN, MAX_DNS_NAMES, SerialNumber};
use crate::SpiffeId;
use crate::tlv::{
    BIT_STRING, OCTET_STRING, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING, explicit, implicit, positive_integer, tlv,
};

pub use error::IssueError;
pub use intermediate::{CaRequest, IntermediateTemplate, downstream_subject};
pub use successor::SuccessorTemplate;

/// ub-common-name of RFC 5280, appendix A.1: a longer first DNS name stays out of the subject.
const MAX_COMMON_NAME_LEN: usize = 64;

/// Algorithms that this trust domain signs certificates with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256.
    EcdsaSha256,
    /// ecdsa-with-SHA384.
    EcdsaSha384,
    /// sha256WithRSAEncryption.
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    fn digest(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::EcdsaSha256 | Self::RsaPkcs1Sha256 => &aws_lc_rs::digest::SHA256,
            Self::EcdsaSha384 => &aws_lc_rs::digest::SHA384,
        }
    }

    /// AlgorithmIdentifier, DER.
    fn to_der(self) -> Vec<u8> {
        let value = match self {
            Self::EcdsaSha256 => rustls_pki_types::alg_id::ECDSA_SHA256,
            Self::EcdsaSha384 => rustls_pki_types::alg_id::ECDSA_SHA384,
            Self::RsaPkcs1Sha256 => rustls_pki_types::alg_id::RSA_PKCS1_SHA256,
        };
        tlv(SEQUENCE, &[value.as_ref()])
    }
}

/// The CA that issues: made once per CA certificate, used for every leaf.
#[derive(Clone, Debug)]
pub struct Issuer {
    algorithm: SignatureAlgorithm,
    name: Vec<u8>,
    not_after: UnixTime,
    /// The extensions that every leaf of this CA has: key usage, extended key usage, basic constraints, authority key identifier.
    leaf_extensions: Vec<u8>,
    /// The last of them alone.
    authority_key_identifier: Vec<u8>,
}

impl Issuer {
    /// Reads name, end of validity and key identifier from a CA certificate.
    pub fn from_certificate(der: &[u8], algorithm: SignatureAlgorithm) -> Result<Self, IssueError> {
        let malformed = |reason: String| IssueError::Malformed { what: "CA certificate", reason };
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(malformed(format!("{} bytes, of at most {MAX_CERTIFICATE_LEN}", der.len())));
        }
        let certificate = Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        let tbs = certificate.tbs_certificate();
        match tbs.get_extension::<BasicConstraints>().map_err(|error| malformed(error.to_string()))? {
            Some((_, BasicConstraints { ca: true, path_len_constraint: _ })) => {}
            _ => return Err(malformed("basic constraints without CA true".to_owned())),
        }
        let spki = tbs.subject_public_key_info().to_der().map_err(|error| malformed(error.to_string()))?;
        let key_id = match tbs.get_extension::<SubjectKeyIdentifier>().map_err(|error| malformed(error.to_string()))? {
            Some((_, SubjectKeyIdentifier(id))) => id.as_bytes().to_vec(),
            None => key_identifier(&spki)?,
        };
        let encode = || -> der::Result<Vec<u8>> {
            let key_usages = KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment | KeyUsages::KeyAgreement;
            let usages = vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH];
            Ok([
                extension(&KeyUsage(key_usages))?,
                extension(&ExtendedKeyUsage(usages))?,
                extension(&BasicConstraints { ca: false, path_len_constraint: None })?,
                authority_key_identifier(&key_id)?,
            ]
            .concat())
        };
        Ok(Self {
            algorithm,
            name: tbs.subject().to_der().map_err(|error| malformed(error.to_string()))?,
            not_after: UnixTime::since_unix_epoch(tbs.validity().not_after.to_unix_duration()),
            leaf_extensions: encode().map_err(|error| malformed(error.to_string()))?,
            authority_key_identifier: authority_key_identifier(&key_id)
                .map_err(|error| malformed(error.to_string()))?,
        })
    }

    /// End of the CA certificate's validity: no leaf may outlive it.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

/// A leaf X.509-SVID: subject C=US, O=SPIRE or another (and CN of the first DNS name), one URI SAN, key usage digitalSignature,
/// keyEncipherment and keyAgreement, extended key usage serverAuth and clientAuth, CA false, subject and authority key identifiers.
#[derive(Clone, Debug)]
pub struct LeafTemplate<'a> {
    /// The only URI SAN; has a path.
    pub spiffe_id: &'a SpiffeId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
    /// Where someone asked for one that he may have; else it is the standard one.
    pub subject: Option<&'a Subject>,
    /// DNS SANs.
    pub dns_names: &'a [String],
    /// Serial number.
    pub serial: &'a SerialNumber,
    /// Validity, inclusive.
    pub not_before: UnixTime,
    /// Validity, inclusive.
    pub not_after: UnixTime,
}

impl LeafTemplate<'_> {
    /// Encodes the TBSCertificate that the issuer's key has to sign.
    pub fn to_tbs(&self, issuer: &Issuer) -> Result<TbsCertificate, IssueError> {
        let Self { spiffe_id, public_key, subject, dns_names, serial, not_before, not_after } = self;
        if spiffe_id.is_trust_domain() {
            return Err(IssueError::RootPath { id: (*spiffe_id).clone() });
        }
        if *not_after > issuer.not_after {
            return Err(IssueError::OutlivesIssuer {
                not_after: not_after.as_secs(),
                issuer_not_after: issuer.not_after.as_secs(),
            });
        }
        if dns_names.len() > MAX_DNS_NAMES {
            return Err(IssueError::TooManyDnsNames { got: dns_names.len() });
        }
        let common_name = dns_names.first().filter(|name| name.len() <= MAX_COMMON_NAME_LEN).map(String::as_str);
        let subject = match subject {
            Some(subject) => subject.to_der(common_name),
            None => Subject::standard().to_der(common_name),
        };
        let extensions = [
            issuer.leaf_extensions.as_slice(),
            &subject_key_identifier(&key_identifier(public_key)?),
            &subject_alt_name(spiffe_id, dns_names)?,
        ]
        .concat();
        encode_tbs(Fields {
            serial,
            algorithm: issuer.algorithm,
            issuer: &issuer.name,
            not_before: *not_before,
            not_after: *not_after,
            subject: &tlv(SEQUENCE, &[&subject]),
            public_key,
            extensions: &extensions,
        })
    }
}

/// A self-signed signing certificate: URI SAN `spiffe://td`, key usage keyCertSign and cRLSign critical, CA true,
/// the subject's serialNumber attribute is the certificate's serial number.
#[derive(Clone, Debug)]
pub struct CaTemplate<'a> {
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
    /// Serial number.
    pub serial: &'a SerialNumber,
    /// Validity, inclusive.
    pub not_before: UnixTime,
    /// Validity, inclusive.
    pub not_after: UnixTime,
}

impl CaTemplate<'_> {
    /// Encodes the TBSCertificate that the CA key itself has to sign.
    pub fn to_tbs(&self, algorithm: SignatureAlgorithm) -> Result<TbsCertificate, IssueError> {
        let Self { spiffe_id, public_key, country, organization, common_name, serial, not_before, not_after } = self;
        if !spiffe_id.is_trust_domain() {
            return Err(IssueError::CaPath { id: (*spiffe_id).clone() });
        }
        let subject = name_of(country, organization, None, common_name, Some(serial));
        let key_id = key_identifier(public_key)?;
        let encode = || -> der::Result<Vec<u8>> {
            Ok([
                extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
                extension(&BasicConstraints { ca: true, path_len_constraint: None })?,
                subject_key_identifier(&key_id),
                authority_key_identifier(&key_id)?,
            ]
            .concat())
        };
        let mut extensions =
            encode().map_err(|error| IssueError::Malformed { what: "CA template", reason: error.to_string() })?;
        extensions.extend(subject_alt_name(spiffe_id, &[])?);
        encode_tbs(Fields {
            serial,
            algorithm,
            issuer: &subject,
            not_before: *not_before,
            not_after: *not_after,
            subject: &subject,
            public_key,
            extensions: &extensions,
        })
    }
}

/// The bytes to sign, and how.
#[derive(Clone, Debug)]
pub struct TbsCertificate {
    der: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl TbsCertificate {
    /// What the signature covers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.der
    }

    /// The algorithm that the certificate names.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Digest of `as_bytes` by the algorithm's hash: what `KeyStore::sign` takes.
    pub fn digest(&self) -> Vec<u8> {
        aws_lc_rs::digest::digest(self.algorithm.digest(), &self.der).as_ref().to_vec()
    }

    /// The certificate, DER. `signature`: DER SEQUENCE for ECDSA, bare octets for RSA.
    pub fn assemble(self, signature: &[u8]) -> Result<Vec<u8>, IssueError> {
        if signature.is_empty() {
            return Err(IssueError::Malformed { what: "signature", reason: "it is empty".to_owned() });
        }
        let signature = tlv(BIT_STRING, &[&[0], signature]);
        let certificate = tlv(SEQUENCE, &[&self.der, &self.algorithm.to_der(), &signature]);
        if certificate.len() > MAX_CERTIFICATE_LEN {
            return Err(IssueError::TooLarge { len: certificate.len() });
        }
        Ok(certificate)
    }
}

struct Fields<'a> {
    serial: &'a SerialNumber,
    algorithm: SignatureAlgorithm,
    issuer: &'a [u8],
    not_before: UnixTime,
    not_after: UnixTime,
    subject: &'a [u8],
    public_key: &'a [u8],
    extensions: &'a [u8],
}

/// RFC 5280, section 4.1, version 3.
fn encode_tbs(fields: Fields<'_>) -> Result<TbsCertificate, IssueError> {
    let Fields { serial, algorithm, issuer, not_before, not_after, subject, public_key, extensions } = fields;
    if not_after < not_before {
        return Err(IssueError::Validity);
    }
    let validity = [time(not_before)?, time(not_after)?].concat();
    let der = tlv(
        SEQUENCE,
        &[
            &[explicit(0), 3, 2, 1, 2],
            &positive_integer(serial.as_bytes()),
            &algorithm.to_der(),
            issuer,
            &tlv(SEQUENCE, &[&validity]),
            subject,
            public_key,
            &tlv(explicit(3), &[&tlv(SEQUENCE, &[extensions])]),
        ],
    );
    Ok(TbsCertificate { der, algorithm })
}

/// The Name of a CA certificate.
fn name_of(
    country: &[String],
    organization: &[String],
    unit: Option<&str>,
    common_name: &str,
    serial: Option<&SerialNumber>,
) -> Vec<u8> {
    let countries = country.iter().map(|name| rdn(&COUNTRY_NAME, &[name]));
    let mut name: Vec<_> = countries.chain(organization.iter().map(|name| rdn(&ORGANIZATION_NAME, &[name]))).collect();
    name.extend(unit.map(|unit| rdn(&ORGANIZATIONAL_UNIT_NAME, &[unit])));
    if !common_name.is_empty() {
        name.push(rdn(&COMMON_NAME, &[common_name]));
    }
    if let Some(serial) = serial {
        name.push(rdn(&SERIAL_NUMBER, &[&serial.to_decimal()]));
    }
    tlv(SEQUENCE, &[&name.concat()])
}

/// UTCTime until 2049, GeneralizedTime after (RFC 5280, section 4.1.2.5).
fn time(time: UnixTime) -> Result<Vec<u8>, IssueError> {
    let since_epoch = Duration::from_secs(time.as_secs());
    UtcTime::from_unix_duration(since_epoch)
        .and_then(|time| time.to_der())
        .or_else(|_| GeneralizedTime::from_unix_duration(since_epoch).and_then(|time| time.to_der()))
        .map_err(|error| IssueError::Malformed { what: "validity", reason: error.to_string() })
}

/// A relative distinguished name with one attribute, of one value or several; PrintableString where the text allows it, as Go encodes it.
pub(super) fn rdn(kind: &ObjectIdentifier, values: &[&str]) -> Vec<u8> {
    let mut attributes: Vec<_> = values
        .iter()
        .map(|text| {
            let printable = text.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b));
            let value = tlv(if printable { PRINTABLE_STRING } else { UTF8_STRING }, &[text.as_bytes()]);
            tlv(SEQUENCE, &[&tlv(0x06, &[kind.as_bytes()]), &value])
        })
        .collect();
    // The elements of a SET OF stand in the order of their encodings (X.690, section 11.6).
    attributes.sort_unstable();
    tlv(SET, &[&attributes.concat()])
}

fn extension<T>(value: T) -> der::Result<Vec<u8>>
where
    T: ToExtension,
    der::Error: From<T::Error>,
{
    // The arguments only decide the criticality of extensions that are not used here.
    value.to_extension(&Name::default(), &[])?.to_der()
}

/// SHA-1 of the subjectPublicKey's bits (RFC 5280, section 4.2.1.2, method 1). It identifies and does not authenticate.
fn key_identifier(spki: &[u8]) -> Result<Vec<u8>, IssueError> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki)
        .map_err(|error| IssueError::Malformed { what: "public key", reason: error.to_string() })?;
    let bits: BitStringRef<'_> = spki.subject_public_key;
    Ok(Sha1::digest(bits.raw_bytes()).to_vec())
}

fn subject_key_identifier(key_id: &[u8]) -> Vec<u8> {
    let id = tlv(0x06, &[ID_CE_SUBJECT_KEY_IDENTIFIER.as_bytes()]);
    tlv(SEQUENCE, &[&id, &tlv(OCTET_STRING, &[&tlv(OCTET_STRING, &[key_id])])])
}

fn authority_key_identifier(key_id: &[u8]) -> der::Result<Vec<u8>> {
    let key_identifier = Some(OctetString::new(key_id)?);
    extension(&AuthorityKeyIdentifier { key_identifier, ..Default::default() })
}

/// dNSName [2] and uniformResourceIdentifier [6]; not critical, since the subject is never empty.
fn subject_alt_name(id: &SpiffeId, dns_names: &[String]) -> Result<Vec<u8>, IssueError> {
    let mut names = Vec::new();
    for name in dns_names {
        if !name.is_ascii() || name.is_empty() {
            return Err(IssueError::Malformed { what: "DNS name", reason: format!("{name:?} is not ASCII or empty") });
        }
        names.extend(tlv(implicit(2), &[name.as_bytes()]));
    }
    names.extend(tlv(implicit(6), &[id.as_str().as_bytes()]));
    let kind = tlv(0x06, &[ID_CE_SUBJECT_ALT_NAME.as_bytes()]);
    Ok(tlv(SEQUENCE, &[&kind, &tlv(OCTET_STRING, &[&tlv(SEQUENCE, &[&names])])]))
}
