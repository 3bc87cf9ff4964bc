//! The form of an X.509-SVID (X509-SVID.md, sections 2 to 4 and 5.2). The chain is verified in `verify`.

use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use super::serial::strip;
use super::{MAX_CERTIFICATE_LEN, MAX_CHAIN_LEN, Purpose};
use crate::{SpiffeId, TrustDomain};

/// A leaf with its intermediates whose form is that of an X.509-SVID. Its chain is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Svid {
    pub(super) id: SpiffeId,
    pub(super) chain: Vec<Vec<u8>>,
    public_key: Vec<u8>,
    serial: Vec<u8>,
    not_before: u64,
    not_after: u64,
}

impl X509Svid {
    /// Parses DER certificates, leaf first. Checks, in order: at least one certificate and at most 16; none longer than 16 KiB;
    /// the leaf parses with no trailing bytes; exactly one URI SAN, critical if the subject is empty; a valid SPIFFE ID; a path;
    /// CA false; key usage present and critical, with digitalSignature, without keyCertSign and cRLSign; extended key usage
    /// absent or with both serverAuth and clientAuth.
    pub fn parse(chain: Vec<Vec<u8>>) -> Result<Self, SvidError> {
        let leaf = match chain.first() {
            Some(leaf) if chain.len() <= MAX_CHAIN_LEN => leaf,
            _ => return Err(SvidError::ChainLength { got: chain.len() }),
        };
        if let Some(long) = chain.iter().find(|certificate| certificate.len() > MAX_CERTIFICATE_LEN) {
            return Err(SvidError::CertificateLength { got: long.len() });
        }
        let certificate = Certificate::from_der(leaf)?;
        let tbs = certificate.tbs_certificate();
        let id = spiffe_id(tbs)?;
        check_leaf(tbs)?;
        Ok(Self {
            id,
            public_key: tbs.subject_public_key_info().to_der()?,
            serial: strip(tbs.serial_number().as_bytes()).to_vec(),
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            chain,
        })
    }

    /// The SPIFFE ID that the leaf claims.
    pub fn claimed_id(&self) -> &SpiffeId {
        &self.id
    }

    /// DER certificates, leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// SubjectPublicKeyInfo of the leaf, DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Serial number of the leaf, big-endian, no leading zeros.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Unix seconds.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Unix seconds.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
}

fn spiffe_id(tbs: &TbsCertificate) -> Result<SpiffeId, SvidError> {
    let Some((critical, SubjectAltName(names))) = tbs.get_extension::<SubjectAltName>()? else {
        return Err(SvidError::UriSanCount { got: 0 });
    };
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri),
        _ => None,
    });
    let id = match (uris.next(), uris.next()) {
        (Some(uri), None) => SpiffeId::parse(uri.as_ref())?,
        (None, _) => return Err(SvidError::UriSanCount { got: 0 }),
        (Some(_), Some(_)) => return Err(SvidError::UriSanCount { got: 2 + uris.count() }),
    };
    if !critical && tbs.subject().is_empty() {
        return Err(SvidError::SanNotCritical);
    }
    if id.is_trust_domain() {
        return Err(SvidError::RootPath);
    }
    Ok(id)
}

fn check_leaf(tbs: &TbsCertificate) -> Result<(), SvidError> {
    match tbs.get_extension::<BasicConstraints>()? {
        Some((_, BasicConstraints { ca: false, path_len_constraint: _ })) => {}
        _ => return Err(SvidError::CaLeaf),
    }
    let reason = match tbs.get_extension::<KeyUsage>()? {
        None => "is absent",
        Some((false, _)) => "is not critical",
        Some((true, usage)) if !usage.digital_signature() => "lacks digitalSignature",
        Some((true, usage)) if usage.key_cert_sign() => "has keyCertSign",
        Some((true, usage)) if usage.crl_sign() => "has cRLSign",
        Some(_) => "",
    };
    if !reason.is_empty() {
        return Err(SvidError::KeyUsage { reason });
    }
    match tbs.get_extension::<ExtendedKeyUsage>()? {
        Some((_, ExtendedKeyUsage(usages)))
            if !(usages.contains(&ID_KP_SERVER_AUTH) && usages.contains(&ID_KP_CLIENT_AUTH)) =>
        {
            Err(SvidError::ExtendedKeyUsage { purpose: Purpose::Any })
        }
        _ => Ok(()),
    }
}

/// Why a certificate chain is not an acceptable X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// No certificate at all, or more than 16.
    #[error("a chain has 1 to {MAX_CHAIN_LEN} certificates, not {got}")]
    ChainLength {
        /// How many there were.
        got: usize,
    },
    /// A certificate that is too long to be read.
    #[error("a certificate has {got} bytes, of at most {MAX_CERTIFICATE_LEN}")]
    CertificateLength {
        /// Its length.
        got: usize,
    },
    /// Does not parse.
    #[error("malformed certificate: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// None, or several.
    #[error("an X.509-SVID has exactly one URI SAN, not {got}")]
    UriSanCount {
        /// How many there were.
        got: usize,
    },
    /// An empty subject makes the SAN the only name.
    #[error("the subject is empty, but the subject alternative name is not critical")]
    SanNotCritical,
    /// The URI is not a SPIFFE ID.
    #[error("the URI SAN is not a SPIFFE ID")]
    Id(#[from] crate::SpiffeIdError),
    /// The ID of a trust domain on a leaf.
    #[error("the SPIFFE ID of a leaf has no path")]
    RootPath,
    /// basicConstraints with CA true, or absent.
    #[error("a leaf must have basic constraints with CA false")]
    CaLeaf,
    /// Key usage absent, not critical, or with the wrong bits.
    #[error("key usage {reason}")]
    KeyUsage {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Extended key usage does not serve the role.
    #[error("extended key usage does not allow {purpose:?}")]
    ExtendedKeyUsage {
        /// The role.
        purpose: Purpose,
    },
    /// No bundle for the trust domain that the leaf names.
    #[error("no bundle for trust domain {trust_domain}")]
    UnknownTrustDomain {
        /// That trust domain.
        trust_domain: TrustDomain,
    },
    /// Expired.
    #[error("expired: not valid after {not_after}, now {now}")]
    Expired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Not valid yet.
    #[error("not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Unix seconds.
        not_before: u64,
        /// Unix seconds.
        now: u64,
    },
    /// No path to an authority of the trust domain.
    #[error("certificate signed by unknown authority: {reason}")]
    UnknownAuthority {
        /// What the path building said.
        reason: String,
    },
    /// A path to an authority of the trust domain, with a certificate in it that breaks a rule of RFC 5280.
    #[error("certification path refused: {reason}")]
    Path {
        /// The rule.
        reason: String,
    },
}

impl From<der::Error> for SvidError {
    fn from(error: der::Error) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}
