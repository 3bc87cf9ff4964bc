//! Validation of X.509-SVIDs (X509-SVID.md, sections 4 and 5).

use rustls_pki_types::UnixTime;

use crate::{Bundle, SpiffeId, TrustDomain};

/// Finds the bundle of a trust domain. A leaf is verified against the bundle of the domain that it names, and no other.
pub trait BundleSource {
    /// The bundle of this trust domain, if it is trusted at all.
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle>;
}

/// For which role the extended key usage must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The peer is a TLS client.
    ClientAuth,
    /// The peer is a TLS server.
    ServerAuth,
    /// Both: one's own SVID.
    Any,
}

/// A leaf with its intermediates whose form is that of an X.509-SVID. Its chain is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Svid {
    id: SpiffeId,
    chain: Vec<Vec<u8>>,
    public_key: Vec<u8>,
    serial: Vec<u8>,
    not_before: u64,
    not_after: u64,
}

impl X509Svid {
    /// Parses DER certificates, leaf first. Checks, in order: at least one certificate and at most 16; the leaf parses with no
    /// trailing bytes; exactly one URI SAN; a valid SPIFFE ID; a path; CA false; key usage present and critical, with
    /// digitalSignature, without keyCertSign and cRLSign.
    pub fn parse(_chain: Vec<Vec<u8>>) -> Result<Self, SvidError> {
        todo!()
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

/// Proof that a chain leads to an authority of the leaf's own trust domain at a given time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSvid(X509Svid);

impl VerifiedSvid {
    /// The proven SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The SVID that was verified.
    pub fn svid(&self) -> &X509Svid {
        &self.0
    }
}

/// Verifies the chain to the bundle of the trust domain that the leaf names: RFC 5280 path, validity at `now`, extended key usage.
pub fn verify_chain(
    _svid: X509Svid,
    _bundles: &dyn BundleSource,
    _purpose: Purpose,
    _now: UnixTime,
) -> Result<VerifiedSvid, SvidError> {
    todo!()
}

/// Why a certificate chain is not an acceptable X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// No certificate at all, or more than 16.
    #[error("a chain has 1 to 16 certificates, not {got}")]
    ChainLength {
        /// How many there were.
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
}
