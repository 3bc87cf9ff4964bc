//! Chains of CA certificates: does this authority stand below one of those roots (RFC 5280, section 6, for CA certificates)?
//!
//! For the certificates that an upstream authority signs with, or signed for us. Leaves are verified elsewhere (`verify_chain`). What
//! it does not do: it builds no path, the certificates have to stand in order; and it takes no CA under name constraints, which no
//! verifier of SVIDs evaluates for URIs.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CERTIFICATE_POLICIES, ID_CE_KEY_USAGE,
    ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER,
};
use der::asn1::BitStringRef;
use der::{Decode, Encode, Reader, SliceReader};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::{MAX_CERTIFICATE_LEN, MAX_CHAIN_LEN};
use crate::key::{KeyError, PublicKey, is_algorithm};

/// Critical extensions that are understood here, or that say nothing about what stands below.
const UNDERSTOOD: [ObjectIdentifier; 6] = [
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_CERTIFICATE_POLICIES,
];

/// Proof that a CA certificate leads to a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAuthority {
    chain: Vec<Vec<u8>>,
    root: Vec<u8>,
}

impl VerifiedAuthority {
    /// DER certificates, the CA first, without the root. Empty where the CA is the root.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The root that it leads to, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }
}

/// What is told of a certificate by whoever holds the key of it. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// URI SANs, in order.
    pub uris: Vec<String>,
    /// End of validity, inclusive, Unix seconds.
    pub not_after: u64,
}

impl CertificateFacts {
    /// Reads a certificate.
    pub fn read(der: &[u8]) -> Result<Self, AuthorityChainError> {
        let parsed = Parsed::new(der)?;
        let tbs = parsed.certificate.tbs_certificate();
        let names = tbs.get_extension::<SubjectAltName>()?.map(|(_critical, names)| names.0).unwrap_or_default();
        let uris = names.into_iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        });
        Ok(Self {
            uris: uris.collect(),
            public_key: tbs.subject_public_key_info().to_der()?,
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
        })
    }
}

/// Why a CA certificate is not one to sign with. `subject`: of the certificate that is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityChainError {
    /// No certificate at all, or too many.
    #[error("a chain has 1 to {MAX_CHAIN_LEN} certificates, not {got}")]
    Length {
        /// How many there were.
        got: usize,
    },
    /// Not a certificate, or too long for one.
    #[error("malformed certificate: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// Expired.
    #[error("certificate {subject} expired: not valid after {not_after}, now {now}")]
    Expired {
        /// Whose.
        subject: String,
        /// RFC 3339.
        not_after: String,
        /// RFC 3339.
        now: String,
    },
    /// Not valid yet.
    #[error("certificate {subject} is not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// RFC 3339.
        not_before: String,
        /// RFC 3339.
        now: String,
    },
    /// basicConstraints absent, or without CA true.
    #[error("certificate {subject} is not a CA: it needs basic constraints with CA true")]
    NotCa {
        /// Whose.
        subject: String,
    },
    /// keyUsage absent, or without keyCertSign.
    #[error("certificate {subject} may not sign certificates: it needs a key usage with keyCertSign")]
    MayNotSign {
        /// Whose.
        subject: String,
    },
    /// The path length constraint leaves no room.
    #[error("certificate {subject} allows {allowed} CAs below it, and there are {below}")]
    PathLength {
        /// Whose.
        subject: String,
        /// The constraint.
        allowed: u8,
        /// What it would have to be.
        below: usize,
    },
    /// A critical extension that is not understood, or name constraints.
    #[error("certificate {subject} has extension {extension}, which is not supported in a CA of SVIDs")]
    Extension {
        /// Whose.
        subject: String,
        /// Its identifier.
        extension: String,
    },
    /// A key that no authority may have.
    #[error("the key of certificate {subject} can't be used")]
    Key {
        /// Whose.
        subject: String,
        /// Why not.
        source: KeyError,
    },
    /// Not signed by the next certificate.
    #[error("certificate {subject} was not issued by the next one of the chain, {issuer}")]
    NotIssuedBy {
        /// Whose.
        subject: String,
        /// The next one.
        issuer: String,
    },
    /// Leads to none of the roots.
    #[error("certificate {subject} leads to none of the {roots} roots; its issuer is {issuer}")]
    UnknownRoot {
        /// The last of the chain.
        subject: String,
        /// Who issued it.
        issuer: String,
        /// How many roots there are.
        roots: usize,
    },
}

impl From<der::Error> for AuthorityChainError {
    fn from(error: der::Error) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

/// A certificate with the bytes that its signature covers.
struct Parsed<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificate: Certificate,
}

impl<'a> Parsed<'a> {
    fn new(der: &'a [u8]) -> Result<Self, AuthorityChainError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            let reason = format!("{} bytes, of at most {MAX_CERTIFICATE_LEN}", der.len());
            return Err(AuthorityChainError::Malformed { reason });
        }
        let mut reader = SliceReader::new(der)?;
        let (signed, algorithm, signature) = reader.sequence(|body| {
            Ok::<_, der::Error>((body.tlv_bytes()?, body.tlv_bytes()?, BitStringRef::decode(body)?))
        })?;
        reader.finish()?;
        let whole = || AuthorityChainError::Malformed { reason: "signature is not a whole number of bytes".to_owned() };
        let signature = signature.as_bytes().ok_or_else(whole)?;
        Ok(Self { signed, algorithm, signature, certificate: Certificate::from_der(der)? })
    }

    /// Escaped: it is shown to people.
    fn subject(&self) -> String {
        format!("{:?}", self.certificate.tbs_certificate().subject().to_string())
    }

    fn issuer(&self) -> String {
        format!("{:?}", self.certificate.tbs_certificate().issuer().to_string())
    }

    /// `below`: how many CAs stand below it.
    fn check(&self, below: usize, now: UnixTime) -> Result<(), AuthorityChainError> {
        let (tbs, subject) = (self.certificate.tbs_certificate(), || self.subject());
        let validity = tbs.validity();
        let rfc3339 = |seconds| {
            der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))
                .map_or_else(|_| seconds.to_string(), |time| time.to_string())
        };
        let (not_before, not_after) =
            (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs());
        if now.as_secs() > not_after {
            let (not_after, now) = (rfc3339(not_after), rfc3339(now.as_secs()));
            return Err(AuthorityChainError::Expired { subject: subject(), not_after, now });
        }
        if now.as_secs() < not_before {
            let (not_before, now) = (rfc3339(not_before), rfc3339(now.as_secs()));
            return Err(AuthorityChainError::NotYetValid { subject: subject(), not_before, now });
        }
        let allowed = match tbs.get_extension::<BasicConstraints>()? {
            Some((_critical, BasicConstraints { ca: true, path_len_constraint })) => path_len_constraint,
            _ => return Err(AuthorityChainError::NotCa { subject: subject() }),
        };
        if !matches!(tbs.get_extension::<KeyUsage>()?, Some((_critical, usage)) if usage.key_cert_sign()) {
            return Err(AuthorityChainError::MayNotSign { subject: subject() });
        }
        if let Some(allowed) = allowed.filter(|allowed| usize::from(*allowed) < below) {
            return Err(AuthorityChainError::PathLength { subject: subject(), allowed, below });
        }
        let refused = tbs.extensions().into_iter().flatten().find(|extension| {
            extension.extn_id == ID_CE_NAME_CONSTRAINTS
                || (extension.critical && !UNDERSTOOD.contains(&extension.extn_id))
        });
        if let Some(refused) = refused {
            let extension = refused.extn_id.to_string();
            return Err(AuthorityChainError::Extension { subject: subject(), extension });
        }
        let spki = tbs.subject_public_key_info().to_der()?;
        PublicKey::parse(&spki).map_err(|source| AuthorityChainError::Key { subject: subject(), source })?;
        Ok(())
    }

    fn is_issued_by(&self, issuer: &Parsed<'_>) -> Result<bool, AuthorityChainError> {
        let (own, issuer) = (self.certificate.tbs_certificate(), issuer.certificate.tbs_certificate());
        if own.issuer() != issuer.subject() {
            return Ok(false);
        }
        let spki = issuer.subject_public_key_info().to_der()?;
        let Ok(key) = PublicKey::parse(&spki) else { return Ok(false) };
        Ok(key
            .verification_algorithms()
            .filter(|known| is_algorithm(&known.signature_alg_id(), self.algorithm))
            .any(|known| known.verify_signature(key.bits, self.signed, self.signature).is_ok()))
    }
}

/// Verifies that the first certificate is a CA that leads to one of `roots`, with room for `below` CAs under it. Checks of each
/// certificate of the path, the root included, in order: size and form; valid at `now`; a CA; may sign certificates; its path length
/// constraint; no extension that is not understood; a key that an authority may have. Then: each is signed by the next, and the last
/// by a root. Where the chain repeats the root, that is left out.
pub fn verify_authority(
    mut chain: Vec<Vec<u8>>,
    roots: &[Vec<u8>],
    below: usize,
    now: UnixTime,
) -> Result<VerifiedAuthority, AuthorityChainError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN_LEN {
        return Err(AuthorityChainError::Length { got: chain.len() });
    }
    if let Some(at) = chain.iter().position(|certificate| roots.contains(certificate)) {
        chain.truncate(at + 1);
    }
    let root = {
        let path: Vec<_> = chain.iter().map(|der| Parsed::new(der)).collect::<Result<_, _>>()?;
        for (index, certificate) in path.iter().enumerate() {
            certificate.check(index + below, now)?;
        }
        for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
            if !certificate.is_issued_by(issuer)? {
                let (subject, issuer) = (certificate.subject(), issuer.subject());
                return Err(AuthorityChainError::NotIssuedBy { subject, issuer });
            }
        }
        let last = path.last().ok_or(AuthorityChainError::Length { got: 0 })?;
        root_of(last, &chain, roots, below, now)?
    };
    if chain.last() == Some(&root) {
        chain.pop();
    }
    Ok(VerifiedAuthority { chain, root })
}

fn root_of(
    last: &Parsed<'_>,
    chain: &[Vec<u8>],
    roots: &[Vec<u8>],
    below: usize,
    now: UnixTime,
) -> Result<Vec<u8>, AuthorityChainError> {
    // Several roots may have the same name and key; the reason of the one that came nearest is told.
    let mut reason = None;
    for root in roots {
        let parsed = Parsed::new(root)?;
        if !last.is_issued_by(&parsed)? {
            continue;
        }
        let below = if chain.last() == Some(root) { below + chain.len() - 1 } else { below + chain.len() };
        match parsed.check(below, now) {
            Ok(()) => return Ok(root.clone()),
            Err(error) => reason = Some(error),
        }
    }
    let (subject, issuer) = (last.subject(), last.issuer());
    Err(reason.unwrap_or(AuthorityChainError::UnknownRoot { subject, issuer, roots: roots.len() }))
}
