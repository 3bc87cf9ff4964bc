//! What PK, KEK, db, dbx and authorities hold: EFI_SIGNATURE_DATA (UEFI Specification 2.10, section 32.4.1), with its owner and, for a
//! certificate, its names and fingerprint. Names are for people; only the fingerprint says which certificate it is.

use der::Decode as _;
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::uefi::{self, Guid, SignatureList};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use x509_cert::Certificate;

use super::known_certificates;

/// One signature of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// SignatureOwner, by the word of whoever enrolled it; `None` where shim logs a certificate alone.
    pub owner: Option<Guid>,
    /// What it is.
    pub content: SignatureContent,
}

/// What a signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureContent {
    /// An X.509 certificate.
    Certificate(CertificateDer),
    /// The Authenticode SHA-256 digest of an image.
    Sha256([u8; 32]),
    /// Something else: its SignatureType, where that is known, and its bytes.
    Other(Option<Guid>, Vec<u8>),
}

/// A certificate in DER. It is read when somebody asks for a name, not for each boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDer(Vec<u8>);

impl CertificateDer {
    pub(super) fn new(der: &[u8]) -> Self {
        Self(der.to_vec())
    }

    /// SHA-256 of the DER.
    pub fn sha256(&self) -> Vec<u8> {
        HashAlgorithm::Sha256.digest([self.0.as_slice()])
    }

    /// The name that people know it by, if it is one that many machines have: `Microsoft UEFI CA 2023`.
    pub fn known(&self) -> Option<&'static str> {
        known_certificates::name_of(&self.sha256())
    }

    /// Subject and issuer by RFC 4514; `None` where it does not parse.
    pub fn names(&self) -> Option<(String, String)> {
        let certificate = Certificate::from_der(&self.0).ok()?;
        let tbs = certificate.tbs_certificate();
        Some((tbs.subject().to_string(), tbs.issuer().to_string()))
    }
}

/// The signatures in the value of a variable.
pub(super) fn signatures(value: &[u8]) -> Result<Vec<Signature>, plastron_attestation_tcg::ReadError> {
    let mut signatures = Vec::new();
    for SignatureList { signature_type, header: _, signatures: list } in SignatureList::parse_all(value)? {
        signatures.extend(list.iter().map(|signature| Signature {
            owner: Some(signature.owner),
            content: content(signature_type, signature.data),
        }));
    }
    Ok(signatures)
}

fn content(signature_type: Guid, data: &[u8]) -> SignatureContent {
    match signature_type {
        uefi::EFI_CERT_X509_GUID => SignatureContent::Certificate(CertificateDer::new(data)),
        uefi::EFI_CERT_SHA256_GUID if data.len() == 32 => {
            let mut digest = [0; 32];
            digest.copy_from_slice(data);
            SignatureContent::Sha256(digest)
        }
        other => SignatureContent::Other(Some(other), data.to_vec()),
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { owner, content } = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(owner) = owner {
            map.serialize_entry("owner", &owner.to_string())?;
            map.serialize_entry("owner_name", &uefi::name_of(*owner))?;
        }
        match content {
            SignatureContent::Certificate(certificate) => map.serialize_entry("certificate", certificate)?,
            SignatureContent::Sha256(digest) => map.serialize_entry("sha256", &hex::encode(digest))?,
            SignatureContent::Other(signature_type, bytes) => {
                let name =
                    signature_type.map(|kind| uefi::name_of(kind).map_or_else(|| kind.to_string(), str::to_owned));
                map.serialize_entry("type", &name)?;
                map.serialize_entry("bytes", &hex::encode(bytes))?;
            }
        }
        map.end()
    }
}

impl Serialize for CertificateDer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (subject, issuer) = self.names().unzip();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sha256", &hex::encode(self.sha256()))?;
        map.serialize_entry("known", &self.known())?;
        map.serialize_entry("subject", &subject)?;
        map.serialize_entry("issuer", &issuer)?;
        map.end()
    }
}
