//! The certificate chain of a node: limits first, then a path of RFC 5280, section 6, to a certificate that the operator trusts.
//!
//! The extended key usage is not looked at, as SPIRE does not: what such certificates were issued for differs from site to site.

use std::cell::Cell;
use std::sync::Arc;

use der::{Decode as _, Encode as _};
use plastron_spiffe::x509::{MAX_CERTIFICATE_LEN, Originals, may_sign, readable};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_cert::Certificate;

use crate::possession::KeyKind;

/// Most roots: a site has a few, the public web a hundred and fifty.
const MAX_ROOTS: usize = 1024;
/// Shortest RSA modulus of a leaf, in bits (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// How much a node may make the server verify before it has proved anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// Most intermediates (`max_intermediates`).
    pub intermediates: usize,
    /// Longest RSA modulus, in bits (`max_rsa_key_size`).
    pub rsa_bits: usize,
}

impl ChainLimits {
    /// SPIRE's.
    pub const DEFAULT: Self = Self { intermediates: 4, rsa_bits: 8192 };
}

/// The certificates that the operator trusts.
#[derive(Clone, Debug)]
pub struct CaBundle(Arc<[Root]>);

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    not_before: u64,
    not_after: u64,
}

impl CaBundle {
    /// Reads DER certificates. Which of them are valid is asked at each verification.
    pub fn new(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, CaBundleError> {
        let mut roots = Vec::new();
        for (index, der) in certificates.into_iter().enumerate() {
            let malformed = |reason: String| CaBundleError::Malformed { index, reason };
            let certificate = Certificate::from_der(&readable(&der)).map_err(|error| malformed(error.to_string()))?;
            let validity = certificate.tbs_certificate().validity();
            let (not_before, not_after) =
                (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs());
            let der = CertificateDer::from(der);
            let _anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| malformed(format!("{error:?}")))?;
            roots.push(Root { der, not_before, not_after });
        }
        if !(1..=MAX_ROOTS).contains(&roots.len()) {
            return Err(CaBundleError::Count { got: roots.len() });
        }
        Ok(Self(roots.into()))
    }
}

/// Why certificates are no bundle of CAs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaBundleError {
    /// None, or too many.
    #[error("{got} CA certificates, where 1 to {MAX_ROOTS} are needed")]
    Count {
        /// How many there are.
        got: usize,
    },
    /// Not a certificate.
    #[error("CA certificate {index} is malformed: {reason}")]
    Malformed {
        /// Which one, from 0.
        index: usize,
        /// What does not parse.
        reason: String,
    },
}

/// The key of a leaf.
#[derive(Clone, Debug)]
pub(crate) struct LeafKey {
    pub(crate) kind: KeyKind,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: Vec<u8>,
}

/// A chain that is within the limits; whom it belongs to is not proven.
#[derive(Debug)]
pub(crate) struct ClaimedChain {
    pub(crate) leaf: Certificate,
    pub(crate) key: LeafKey,
    certificates: Vec<CertificateDer<'static>>,
}

/// Proof that a leaf leads to a certificate that the operator trusts, at a given time.
#[derive(Debug)]
pub(crate) struct TrustedChain {
    pub(crate) leaf: Certificate,
    pub(crate) leaf_der: CertificateDer<'static>,
    pub(crate) key: LeafKey,
    /// The certificates above the leaf, up to the trusted one, in order.
    pub(crate) above: Vec<CertificateDer<'static>>,
}

impl ClaimedChain {
    /// Checks, in order: there is a leaf; not too many intermediates; each certificate is of a reasonable length and parses; no RSA key
    /// is longer than allowed; the leaf's key is one that can be challenged, and not weak.
    pub(crate) fn parse(certificates: Vec<Vec<u8>>, limits: ChainLimits) -> Result<Self, ChainError> {
        let intermediates = certificates.len().checked_sub(1).ok_or(ChainError::Empty)?;
        if intermediates > limits.intermediates {
            return Err(ChainError::TooMany { got: intermediates, allowed: limits.intermediates });
        }
        let mut leaf = None;
        for (index, der) in certificates.iter().enumerate() {
            if der.len() > MAX_CERTIFICATE_LEN {
                return Err(ChainError::Length { index, got: der.len() });
            }
            let parsed = Certificate::from_der(&readable(der))
                .map_err(|error| ChainError::Malformed { index, reason: error.to_string() })?;
            let bits = rsa_bits(&parsed);
            if bits.is_some_and(|bits| bits > limits.rsa_bits) {
                let got = bits.unwrap_or_default();
                return Err(ChainError::RsaTooLong { index, got, allowed: limits.rsa_bits });
            }
            leaf.get_or_insert(parsed);
        }
        let leaf = leaf.ok_or(ChainError::Empty)?;
        let key = leaf_key(&leaf)?;
        let certificates = certificates.into_iter().map(CertificateDer::from).collect();
        Ok(Self { leaf, key, certificates })
    }

    /// The certificates, leaf first.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Checks, in order: a root is valid at `now`; a path leads to one (signatures, validity at `now`, CA and path length constraints,
    /// name constraints, unknown critical extensions); every intermediate of the path may sign certificates.
    pub(crate) fn verify(self, roots: &CaBundle, now: UnixTime) -> Result<TrustedChain, ChainError> {
        let valid = |root: &&Root| (root.not_before..=root.not_after).contains(&now.as_secs());
        let roots: Vec<_> = roots.0.iter().filter(valid).collect();
        let anchors: Vec<_> =
            roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(&root.der).ok()).collect();
        if anchors.is_empty() {
            return Err(ChainError::NoRoot { now: now.as_secs() });
        }
        let copies: Vec<_> = self.certificates.iter().map(|it| CertificateDer::from(readable(it))).collect();
        let originals =
            Originals::of(self.certificates.iter().map(AsRef::as_ref).zip(copies.iter().map(AsRef::as_ref)));
        let algorithms: Vec<_> =
            webpki::ALL_VERIFICATION_ALGS.iter().map(|algorithm| originals.verified_by(*algorithm)).collect();
        let algorithms: Vec<_> = algorithms.iter().map(|it| it as &dyn SignatureVerificationAlgorithm).collect();
        let leaf_der = self.certificates.first().ok_or(ChainError::Empty)?;
        let (leaf_copy, intermediates) = copies.split_first().ok_or(ChainError::Empty)?;
        let refused = |error: webpki::Error| ChainError::Path { reason: format!("{error:?}") };
        let entity = EndEntityCert::try_from(leaf_copy).map_err(refused)?;
        let not_a_signer = Cell::new(false);
        let every_signer_signs = |path: &webpki::VerifiedPath<'_>| {
            if path.intermediate_certificates().all(|certificate| may_sign(certificate.der().as_ref())) {
                return Ok(());
            }
            not_a_signer.set(true);
            Err(webpki::Error::EndEntityUsedAsCa)
        };
        let path = entity
            .verify_for_usage(&algorithms, &anchors, intermediates, now, AnyUsage, None, Some(&every_signer_signs))
            .map_err(|error| if not_a_signer.get() { ChainError::NotASigner } else { refused(error) })?;
        let arrived = |copy: CertificateDer<'_>| {
            let found = copies.iter().position(|it| *it == copy).and_then(|index| self.certificates.get(index));
            found.cloned()
        };
        let mut above: Vec<_> = path.intermediate_certificates().filter_map(|it| arrived(it.der())).collect();
        let anchor = path.anchor();
        let root = roots.iter().find(|root| webpki::anchor_from_trusted_cert(&root.der).is_ok_and(|it| it == *anchor));
        above.extend(root.map(|root| root.der.clone()));
        drop(path);
        Ok(TrustedChain { leaf_der: leaf_der.clone(), leaf: self.leaf, key: self.key, above })
    }

    /// Takes the chain as one that was verified elsewhere as an X.509-SVID of the own trust domain.
    pub(crate) fn verified_as_svid(
        self,
        _verified: &plastron_spiffe::x509::VerifiedSvid,
    ) -> Result<TrustedChain, ChainError> {
        let (leaf_der, above) = self.certificates.split_first().ok_or(ChainError::Empty)?;
        let (leaf_der, above) = (leaf_der.clone(), above.to_vec());
        Ok(TrustedChain { leaf_der, leaf: self.leaf, key: self.key, above })
    }
}

/// Every extended key usage will do.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Length of an RSA key's modulus in bits; `None` for other keys.
fn rsa_bits(certificate: &Certificate) -> Option<usize> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    if KeyKind::of(spki.algorithm.oid, None) != Some(KeyKind::Rsa) {
        return None;
    }
    let key = rsa::pkcs1::RsaPublicKeyRef::from_der(spki.subject_public_key.as_bytes()?).ok()?;
    let modulus = key.modulus.as_bytes();
    let leading = modulus.first().map_or(0, |octet| octet.leading_zeros());
    (modulus.len() * 8).checked_sub(usize::try_from(leading).ok()?)
}

fn leaf_key(leaf: &Certificate) -> Result<LeafKey, ChainError> {
    let info = leaf.tbs_certificate().subject_public_key_info();
    let parameters = info.algorithm.parameters.as_ref().map(der::asn1::AnyRef::from);
    let kind = KeyKind::of(info.algorithm.oid, parameters).ok_or(ChainError::UnknownKey)?;
    if kind == KeyKind::Rsa {
        let got = rsa_bits(leaf).ok_or(ChainError::UnknownKey)?;
        if got < MIN_RSA_BITS {
            return Err(ChainError::WeakKey { got });
        }
    }
    let spki = info.to_der().map_err(|error| ChainError::Malformed { index: 0, reason: error.to_string() })?;
    Ok(LeafKey { kind, spki })
}

/// Why a chain is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("no certificate to attest")]
    Empty,
    #[error("too many intermediate certificates: {got}, where {allowed} are allowed (max_intermediates)")]
    TooMany { got: usize, allowed: usize },
    #[error("certificate {index} has {got} bytes, of at most {MAX_CERTIFICATE_LEN}")]
    Length { index: usize, got: usize },
    #[error("certificate {index} is malformed: {reason}")]
    Malformed { index: usize, reason: String },
    #[error("certificate {index} has an RSA key of {got} bits, where {allowed} are allowed (max_rsa_key_size)")]
    RsaTooLong { index: usize, got: usize, allowed: usize },
    #[error("the certificate's key is none of RSA, P-256, P-384 and P-521")]
    UnknownKey,
    #[error("the certificate's RSA key has {got} bits, where {MIN_RSA_BITS} are the least")]
    WeakKey { got: usize },
    #[error("no trusted CA certificate is valid at {now}; renew the CA bundle")]
    NoRoot { now: u64 },
    #[error("the certificate does not lead to a trusted CA: {reason}")]
    Path { reason: String },
    #[error("a certificate of the path may not sign certificates")]
    NotASigner,
}
