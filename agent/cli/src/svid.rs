//! What the agent answered, parsed and verified: nothing is printed or written that would not verify at a peer.

use std::collections::BTreeMap;

use der::{Decode, Encode, Header, Reader, SliceReader};
use plastron_proto::workload::{X509svid, X509svidResponse};
use plastron_spiffe::jwt::JwtError;
use plastron_spiffe::x509::{BundleSource, Purpose, SvidError, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId, SpiffeIdError, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

/// Most certificates in one field; an agent's bundle has a handful, during rotation some more.
const MAX_CERTIFICATES: usize = 1000;

/// One identity.
pub(crate) struct FetchedSvid {
    pub(crate) id: SpiffeId,
    pub(crate) hint: String,
    /// Leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
    /// The authorities of the own trust domain.
    pub(crate) bundle: Vec<Vec<u8>>,
}

/// The whole answer.
pub(crate) struct FetchedSvids {
    pub(crate) svids: Vec<FetchedSvid>,
    /// The authorities of foreign trust domains.
    pub(crate) federated: BTreeMap<TrustDomain, Vec<Vec<u8>>>,
}

impl FetchedSvids {
    /// Parses the answer and verifies each SVID against the bundle that came with it, at `now`.
    pub(crate) fn verify(response: &X509svidResponse, now: UnixTime) -> Result<Self, ResponseError> {
        if response.svids.is_empty() {
            return Err(ResponseError::NoSvids);
        }
        let svids = response.svids.iter().map(|svid| verify_one(svid, now)).collect::<Result<_, _>>()?;
        let mut federated = BTreeMap::new();
        for (id, der) in &response.federated_bundles {
            let domain = TrustDomain::parse(id).map_err(|source| ResponseError::Id { id: id.clone(), source })?;
            federated.insert(domain, certificates("federated bundle", der)?);
        }
        Ok(Self { svids, federated })
    }
}

fn verify_one(svid: &X509svid, now: UnixTime) -> Result<FetchedSvid, ResponseError> {
    let id =
        SpiffeId::parse(&svid.spiffe_id).map_err(|source| ResponseError::Id { id: svid.spiffe_id.clone(), source })?;
    let chain = certificates("chain", &svid.x509_svid)?;
    let bundle = certificates("bundle", &svid.bundle)?;
    // The key's inner form is the business of whoever uses it; that it is one PKCS#8 element is checked.
    if elements(&svid.x509_svid_key).is_none_or(|found| found.len() != 1) {
        return Err(ResponseError::Key { id });
    }
    let refuse = |source| ResponseError::Svid { id: id.clone(), source };
    let parsed = X509Svid::parse(chain.clone()).map_err(refuse)?;
    if *parsed.claimed_id() != id {
        return Err(ResponseError::OtherId { stated: id, certified: parsed.claimed_id().clone() });
    }
    let own = OneBundle(Bundle {
        trust_domain: id.trust_domain().clone(),
        x509_authorities: bundle
            .iter()
            .map(|certificate| X509Authority { certificate: certificate.clone(), tainted: false })
            .collect(),
        jwt_authorities: Vec::new(),
        refresh_hint: 0,
        sequence_number: 0,
    });
    verify_chain(parsed, &own, Purpose::Any, now).map_err(refuse)?;
    Ok(FetchedSvid { id, hint: svid.hint.clone(), chain, key: Zeroizing::new(svid.x509_svid_key.clone()), bundle })
}

struct OneBundle(Bundle);

impl BundleSource for OneBundle {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        (*trust_domain == self.0.trust_domain).then_some(&self.0)
    }
}

/// Splits concatenated DER into certificates.
fn certificates(what: &'static str, der: &[u8]) -> Result<Vec<Vec<u8>>, ResponseError> {
    match elements(der) {
        Some(found) if !found.is_empty() => Ok(found),
        _ => Err(ResponseError::Certificates { what }),
    }
}

/// Splits concatenated DER SEQUENCEs; `None` if that is not what the bytes are.
fn elements(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut rest = der;
    while !rest.is_empty() {
        let mut reader = SliceReader::new(rest).ok()?;
        let header = Header::decode(&mut reader).ok()?;
        let body = usize::try_from(u32::from(header.length())).ok()?;
        let total = usize::try_from(u32::from(header.encoded_len().ok()?)).ok()?.checked_add(body)?;
        let (element, tail) = rest.split_at_checked(total)?;
        if header.tag() != der::Tag::Sequence || found.len() == MAX_CERTIFICATES || reader.position().is_zero() {
            return None;
        }
        found.push(element.to_vec());
        rest = tail;
    }
    Some(found)
}

/// Why an answer of the Workload API is refused.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// An empty list where the standard wants PermissionDenied.
    #[error("workload response contains no svids")]
    NoSvids,
    /// No SPIFFE ID or trust domain.
    #[error("{id:?} is not a SPIFFE ID")]
    Id {
        /// What it says.
        id: String,
        /// What is wrong with it.
        source: SpiffeIdError,
    },
    /// A field that is not certificates, or none.
    #[error("the {what} is not one or more certificates in DER")]
    Certificates {
        /// Which field.
        what: &'static str,
    },
    /// The key is not PKCS#8.
    #[error("the private key of {id} is not PKCS#8")]
    Key {
        /// Whose.
        id: SpiffeId,
    },
    /// The message names one ID and the certificate another.
    #[error("the agent states {stated}, the certificate {certified}")]
    OtherId {
        /// In the message.
        stated: SpiffeId,
        /// In the certificate.
        certified: SpiffeId,
    },
    /// The token is none.
    #[error("the token of {id} is no JWT-SVID")]
    Token {
        /// Whose.
        id: SpiffeId,
        /// Which check.
        source: JwtError,
    },
    /// The token is for others.
    #[error("the token of {id} is not for {missing:?}")]
    Audience {
        /// Whose.
        id: SpiffeId,
        /// What was asked for.
        missing: String,
    },
    /// The chain does not verify.
    #[error("{id} SVID failed verification against bundle")]
    Svid {
        /// Whose.
        id: SpiffeId,
        /// Which check.
        source: SvidError,
    },
}
