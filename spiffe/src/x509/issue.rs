//! Certificates to be signed: leaf SVIDs and signing certificates. The signature is made elsewhere (a `KeyStore`).

use rustls_pki_types::UnixTime;

use crate::SpiffeId;

/// A certificate serial number: positive, non-zero, at most 20 octets (RFC 5280, section 4.1.2.2).
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// From 16 random octets; the top bit is cleared and a zero is avoided.
    pub fn from_random(_octets: [u8; 16]) -> Self {
        todo!()
    }

    /// Big-endian octets without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decimal, as SPIRE's API and command line print it.
    pub fn to_decimal(&self) -> String {
        todo!()
    }
}

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

/// The CA that issues: made once per CA certificate, used for every leaf.
#[derive(Clone, Debug)]
pub struct Issuer {
    _private: (),
}

impl Issuer {
    /// Reads name and key identifier from a CA certificate.
    pub fn from_certificate(_der: &[u8], _algorithm: SignatureAlgorithm) -> Result<Self, IssueError> {
        todo!()
    }
}

/// A leaf X.509-SVID: subject C=US, O=SPIRE (and CN of the first DNS name), one URI SAN, key usage digitalSignature,
/// keyEncipherment and keyAgreement, extended key usage serverAuth and clientAuth, CA false, subject and authority key identifiers.
#[derive(Clone, Debug)]
pub struct LeafTemplate<'a> {
    /// The only URI SAN; has a path.
    pub spiffe_id: &'a SpiffeId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: &'a [u8],
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
    pub fn to_tbs(&self, _issuer: &Issuer) -> Result<TbsCertificate, IssueError> {
        todo!()
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
    pub fn to_tbs(&self, _algorithm: SignatureAlgorithm) -> Result<TbsCertificate, IssueError> {
        todo!()
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
        todo!()
    }

    /// The certificate, DER. `signature`: DER SEQUENCE for ECDSA, bare octets for RSA.
    pub fn assemble(self, _signature: &[u8]) -> Result<Vec<u8>, IssueError> {
        todo!()
    }
}

/// Why no certificate can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A leaf needs a SPIFFE ID with a path.
    #[error("{id} names a trust domain; a leaf SVID needs a path")]
    RootPath {
        /// The ID.
        id: SpiffeId,
    },
    /// A public key or CA certificate that does not parse.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// What does not parse.
        reason: String,
    },
    /// Validity that ends before it begins.
    #[error("validity ends before it begins")]
    Validity,
}

impl SerialNumber {
    /// From the octets that a store kept; `None` where they are no serial number of ours: empty, zero, over 20 octets, or with
    /// leading zeros.
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        match octets.first() {
            Some(&first) if first != 0 && octets.len() <= 20 => Some(Self(octets.to_vec())),
            _ => None,
        }
    }
}
