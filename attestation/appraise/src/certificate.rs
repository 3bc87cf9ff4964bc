//! X.509 certificates (RFC 5280, section 4.1), read strictly as DER and borrowed from the bytes that arrived.
//!
//! Names stay bytes: real manufacturers' names break rules of DER (a SET OF that is not sorted), and a path is built by comparing
//! names as they were written. The signature is verified over the slice of the TBSCertificate itself.

use const_oid::AssociatedOid;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef, ContextSpecific, OctetStringRef, UintRef};
use der::{Decode, Reader as _, Sequence, SliceReader, Tag, TagNumber, Tagged};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::time::Validity;

use crate::AppraiseError;

/// Longest certificate: EK certificates are 700 to 1,800 bytes, and an on-die CA's chain stays under 2 KiB each.
pub const MAX_CERTIFICATE_LEN: usize = 8192;

/// Most extensions: real EK certificates have up to 10.
const MAX_EXTENSIONS: usize = 32;

/// The subject of a certificate, DER as written: what certificates that it issued have as their issuer.
pub fn certificate_subject(der: &[u8]) -> Result<Vec<u8>, AppraiseError> {
    Ok(Certificate::parse("issuer", der)?.subject().to_vec())
}

/// A certificate that parses. Nothing in it is proven.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    which: &'static str,
    tbs: &'a [u8],
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
    version: u8,
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: u64,
    not_after: u64,
    spki: SubjectPublicKeyInfoRef<'a>,
    extensions: Vec<Extension<'a>>,
}

/// An extension with its value, unread.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct Extension<'a> {
    pub(crate) extn_id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(crate) critical: bool,
    pub(crate) extn_value: &'a OctetStringRef,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate that fills `der`. `which` names it in errors: `EK`, `intermediate`, `root`.
    pub(crate) fn parse(which: &'static str, der: &'a [u8]) -> Result<Self, AppraiseError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(AppraiseError::CertificateTooLong { which, len: der.len(), limit: MAX_CERTIFICATE_LEN });
        }
        read(which, der)
            .map_err(|error| AppraiseError::CertificateMalformed { which, reason: error.to_string() })
            .and_then(|certificate| certificate.without_repeats())
    }

    /// RFC 5280, section 4.2: an extension appears once at most, so no reader can prefer another one than we.
    fn without_repeats(self) -> Result<Self, AppraiseError> {
        for (at, extension) in self.extensions.iter().enumerate() {
            if self.extensions.iter().skip(at + 1).any(|other| other.extn_id == extension.extn_id) {
                let reason = format!("extension {} appears twice", extension.extn_id);
                return Err(AppraiseError::CertificateMalformed { which: self.which, reason });
            }
        }
        Ok(self)
    }

    pub(crate) fn which(&self) -> &'static str {
        self.which
    }

    /// What the signature covers.
    pub(crate) fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    pub(crate) fn signature_algorithm(&self) -> AlgorithmIdentifierRef<'a> {
        self.signature_algorithm
    }

    pub(crate) fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// 3 for v3.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Content of the INTEGER.
    pub(crate) fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// Name, DER as written.
    pub(crate) fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// Name, DER as written.
    pub(crate) fn subject(&self) -> &'a [u8] {
        self.subject
    }

    pub(crate) fn spki(&self) -> &SubjectPublicKeyInfoRef<'a> {
        &self.spki
    }

    /// The value of an extension, if it is there.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&'a [u8]> {
        self.extensions
            .iter()
            .find(|extension| extension.extn_id == oid)
            .map(|extension| extension.extn_value.as_bytes())
    }

    fn decoded<T: AssociatedOid + Decode<'a, Error = der::Error>>(&self) -> Result<Option<T>, AppraiseError> {
        self.extension(T::OID).map(T::from_der).transpose().map_err(|error| AppraiseError::CertificateMalformed {
            which: self.which,
            reason: format!("extension {}: {error}", T::OID),
        })
    }

    pub(crate) fn basic_constraints(&self) -> Result<Option<BasicConstraints>, AppraiseError> {
        self.decoded()
    }

    pub(crate) fn key_usage(&self) -> Result<Option<KeyUsage>, AppraiseError> {
        self.decoded()
    }

    /// Neither too early nor too late.
    pub(crate) fn check_validity(&self, now: u64) -> Result<(), AppraiseError> {
        if now < self.not_before {
            return Err(AppraiseError::NotYetValid { which: self.which, not_before: self.not_before, now });
        }
        if now > self.not_after {
            return Err(AppraiseError::Expired { which: self.which, not_after: self.not_after, now });
        }
        Ok(())
    }

    /// Every critical extension is one of these.
    pub(crate) fn check_critical(&self, understood: &[ObjectIdentifier]) -> Result<(), AppraiseError> {
        match self.extensions.iter().find(|extension| extension.critical && !understood.contains(&extension.extn_id)) {
            Some(extension) => {
                Err(AppraiseError::CriticalExtension { which: self.which, oid: extension.extn_id.to_string() })
            }
            None => Ok(()),
        }
    }
}

fn read<'a>(which: &'static str, der: &'a [u8]) -> der::Result<Certificate<'a>> {
    let mut reader = SliceReader::new(der)?;
    let (tbs, signature_algorithm, signature) = reader.sequence(|reader| {
        let tbs = reader.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        let signature = BitStringRef::decode(reader)?;
        Ok::<_, der::Error>((tbs, algorithm, signature))
    })?;
    reader.finish()?;
    let signature = signature.as_bytes().ok_or(der::ErrorKind::Value { tag: der::Tag::BitString })?;

    let mut reader = SliceReader::new(tbs)?;
    let certificate = reader.sequence(|reader| {
        let version = ContextSpecific::<u8>::decode_explicit(reader, TagNumber(0))?;
        let serial = AnyRef::decode(reader)?;
        serial.tag().assert_eq(Tag::Integer)?;
        let inner_algorithm = AlgorithmIdentifierRef::decode(reader)?;
        if inner_algorithm != signature_algorithm {
            return Err(der::ErrorKind::Value { tag: der::Tag::Sequence }.into());
        }
        let issuer = reader.tlv_bytes()?;
        let validity: Validity = Validity::decode(reader)?;
        let subject = reader.tlv_bytes()?;
        let spki = SubjectPublicKeyInfoRef::decode(reader)?;
        for unique_id in [1, 2] {
            ContextSpecific::<BitStringRef<'_>>::decode_implicit(reader, TagNumber(unique_id))?;
        }
        let extensions = ContextSpecific::<Vec<Extension<'a>>>::decode_explicit(reader, TagNumber(3))?;
        Ok::<_, der::Error>(Certificate {
            which,
            tbs,
            signature_algorithm,
            signature,
            version: version.map_or(1, |version| version.value.saturating_add(1)),
            serial: serial.value(),
            issuer,
            subject,
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
            spki,
            extensions: extensions.map(|extensions| extensions.value).unwrap_or_default(),
        })
    })?;
    reader.finish()?;
    if certificate.extensions.len() > MAX_EXTENSIONS {
        return Err(der::ErrorKind::Overlength.into());
    }
    Ok(certificate)
}

/// RSAPublicKey (RFC 8017, appendix A.1.1).
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RsaPublicKey<'a> {
    pub(crate) modulus: UintRef<'a>,
    pub(crate) exponent: UintRef<'a>,
}

/// A big-endian number without the zeros that its encoding puts in front, so that one number has one form.
pub(crate) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
