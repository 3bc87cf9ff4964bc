//! Verification of an X.509-SVID's chain (X509-SVID.md, section 5.1; RFC 5280, section 6).
//!
//! Roots are the authorities of one bundle; intermediates are what the peer sent, and never roots. URI name constraints are not
//! evaluated but refused, as webpki does: a CA under one is not usable.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use der::asn1::AnyRef;
use der::{Decode, SliceReader, Tag, Tagged};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use x509_cert::Certificate;
use x509_cert::ext::pkix::KeyUsage;
use x509_cert::time::Validity;

use super::{SvidError, X509Svid};
use crate::{Bundle, SpiffeId, TrustDomain};

/// How long ago an authority may have expired that still names its successor: machines that were in store or in repair for a season come
/// back by themselves, and a key that leaked long ago is worth nothing.
pub const LONGEST_ABSENCE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Finds the bundle of a trust domain. A leaf is verified against the bundle of the domain that it names, and no other.
pub trait BundleSource {
    /// The bundle of this trust domain, if it is trusted at all.
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle>;
}

/// One trust domain and no other.
impl BundleSource for Bundle {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        (self.trust_domain == *trust_domain).then_some(self)
    }
}

/// The map's keys are not trusted to agree with the bundles: a bundle serves only the domain that it names itself.
impl<S: BuildHasher> BundleSource for HashMap<TrustDomain, Bundle, S> {
    fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        self.get(trust_domain).filter(|bundle| bundle.trust_domain == *trust_domain)
    }
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

/// Verifies the chain to the bundle of the trust domain that the leaf names. Checks, in order: a bundle for that domain; an
/// authority in it that has not expired at `now`; a path of RFC 5280 to one of those authorities (signatures, validity at `now`, CA and path length constraints, name constraints,
/// unknown critical extensions); extended key usage for `purpose` in every certificate that has one; keyCertSign in every
/// intermediate of the path that has a key usage.
pub fn verify_chain(
    svid: X509Svid,
    bundles: &dyn BundleSource,
    purpose: Purpose,
    now: UnixTime,
) -> Result<VerifiedSvid, SvidError> {
    let trust_domain = svid.id.trust_domain();
    let Some(bundle) = bundles.bundle(trust_domain) else {
        return Err(SvidError::UnknownTrustDomain { trust_domain: trust_domain.clone() });
    };
    let roots = roots(bundle);
    // An authority that does not parse can't have signed anything; the others still count. webpki does not look at the end of an
    // anchor: one that has expired must not be one, or a CA key that leaked would be good for ever.
    let anchors: Vec<_> = roots
        .iter()
        .filter(|root| is_live(root, now))
        .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
        .collect();
    if anchors.is_empty() {
        let (total, now) = (roots.len(), now.as_secs());
        let reason = format!("of {total} authorities in the bundle of {trust_domain} none is usable at {now}");
        return Err(SvidError::UnknownAuthority { reason });
    }
    lead_to(&anchors, svid, purpose, now, Signer::Anchor)
}

/// For a node that was away for longer than all authorities that it knows were valid: verifies a chain to one of those, over a
/// certificate in which it named the CA that followed on it. Only the CA key that the node knew last can have signed that, and only for
/// such a node is the key still worth anything: where one authority of the bundle has not expired, nothing else is believed.
///
/// Checks, in order: a bundle for the domain that the leaf names; every authority in it has expired at `now`; none of those counts that
/// is tainted, or that expired more than [`LONGEST_ABSENCE`] ago; then all that [`verify_chain`] checks, at `now`, of the chain below the authority; and that this is a CA certificate and
/// not an SVID that the authority signed itself.
pub fn verify_successor(
    svid: X509Svid,
    bundles: &dyn BundleSource,
    purpose: Purpose,
    now: UnixTime,
) -> Result<VerifiedSvid, SvidError> {
    let trust_domain = svid.id.trust_domain();
    let Some(bundle) = bundles.bundle(trust_domain) else {
        return Err(SvidError::UnknownTrustDomain { trust_domain: trust_domain.clone() });
    };
    let all = roots(bundle);
    if all.iter().any(|root| is_live(root, now)) {
        let reason = format!("the bundle of {trust_domain} has an authority that is valid; no other is believed");
        return Err(SvidError::UnknownAuthority { reason });
    }
    let untainted = bundle.x509_authorities.iter().filter(|authority| !authority.tainted);
    let oldest = now.as_secs().saturating_sub(LONGEST_ABSENCE.as_secs());
    let roots: Vec<_> = untainted
        .map(|authority| CertificateDer::from(authority.certificate.as_slice()))
        .filter(|root| ends(root).is_ok_and(|not_after| not_after >= oldest))
        .collect();
    let anchors: Vec<_> = roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    lead_to(&anchors, svid, purpose, now, Signer::NamedByAnchor).map_err(|error| match error {
        SvidError::UnknownAuthority { .. } => {
            let (total, trust_domain) = (all.len(), &bundle.trust_domain);
            let reason = format!(
                "all {total} authorities in the bundle of {trust_domain} have expired, and none that did so lately names the peer's as its successor"
            );
            SvidError::UnknownAuthority { reason }
        }
        other => other,
    })
}

fn roots(bundle: &Bundle) -> Vec<CertificateDer<'_>> {
    bundle.x509_authorities.iter().map(|authority| CertificateDer::from(authority.certificate.as_slice())).collect()
}

fn is_live(root: &CertificateDer<'_>, now: UnixTime) -> bool {
    ends(root).is_ok_and(|not_after| not_after >= now.as_secs())
}

/// Who may have signed the leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signer {
    /// An anchor, or a CA below it.
    Anchor,
    /// Only a CA below an anchor.
    NamedByAnchor,
}

fn lead_to(
    anchors: &[TrustAnchor<'_>],
    svid: X509Svid,
    purpose: Purpose,
    now: UnixTime,
    signer: Signer,
) -> Result<VerifiedSvid, SvidError> {
    let mut chain = svid.chain.iter().map(|certificate| CertificateDer::from(certificate.as_slice()));
    let leaf = chain.next().ok_or(SvidError::ChainLength { got: 0 })?;
    let intermediates: Vec<_> = chain.collect();
    let entity = EndEntityCert::try_from(&leaf).map_err(|error| refusal(error, purpose))?;
    let objection = Cell::new(None);
    let acceptable = |path: &webpki::VerifiedPath<'_>| {
        let found = if !path.intermediate_certificates().all(|certificate| may_sign(certificate.der().as_ref())) {
            Some(SvidError::Path { reason: "an intermediate's key usage lacks keyCertSign".to_owned() })
        } else if signer == Signer::NamedByAnchor && path.intermediate_certificates().next().is_none() {
            Some(SvidError::UnknownAuthority { reason: "an authority that has expired signed it itself".to_owned() })
        } else {
            None
        };
        match found {
            None => Ok(()),
            Some(found) => {
                objection.set(Some(found));
                Err(webpki::Error::EndEntityUsedAsCa)
            }
        }
    };
    let verified = entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        anchors,
        &intermediates,
        now,
        purpose,
        None,
        Some(&acceptable),
    );
    match (verified, objection.take()) {
        (Ok(_), _) => {}
        (Err(_), Some(objection)) => return Err(objection),
        (Err(error), None) => return Err(refusal(error, purpose)),
    }
    Ok(VerifiedSvid(svid))
}

/// When a certificate's validity ends, Unix seconds. Reads no further than that: this is done for every authority, each time.
fn ends(certificate: &[u8]) -> der::Result<u64> {
    let certificate = AnyRef::from_der(certificate)?;
    let tbs = AnyRef::decode(&mut SliceReader::new(certificate.value())?)?;
    let mut fields = SliceReader::new(tbs.value())?;
    // A serial number, or the version before it.
    if AnyRef::decode(&mut fields)?.tag() != Tag::Integer {
        let _serial = AnyRef::decode(&mut fields)?;
    }
    let (_algorithm, _issuer) = (AnyRef::decode(&mut fields)?, AnyRef::decode(&mut fields)?);
    Ok(<Validity>::decode(&mut fields)?.not_after.to_unix_duration().as_secs())
}

/// Whether a certificate's key usage, where it has one, lets it sign certificates (RFC 5280, section 6.1.4 (n)): webpki leaves this check to
/// its callers. False for what does not parse.
pub fn may_sign(der: &[u8]) -> bool {
    let Ok(certificate) = Certificate::from_der(der) else { return false };
    match certificate.tbs_certificate().get_extension::<KeyUsage>() {
        Ok(None) => true,
        Ok(Some((_, usage))) => usage.key_cert_sign(),
        Err(_) => false,
    }
}

/// An extended key usage, where present, serves the purpose (RFC 5280, section 4.2.1.12), also in intermediates.
impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
        const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
        let (mut any, mut server, mut client) = (false, false, false);
        for usage in usages {
            let usage = usage?;
            any = true;
            server |= usage == SERVER_AUTH;
            client |= usage == CLIENT_AUTH;
        }
        let serves = match self {
            Self::ServerAuth => server,
            Self::ClientAuth => client,
            Self::Any => server && client,
        };
        // webpki calls us with no usage at all where the extension is absent, and refuses an empty one itself.
        if serves || !any { Ok(()) } else { Err(webpki::Error::EmptyEkuExtension) }
    }
}

fn refusal(error: webpki::Error, purpose: Purpose) -> SvidError {
    use webpki::Error;
    match error {
        Error::CertExpired { time, not_after } => {
            SvidError::Expired { not_after: not_after.as_secs(), now: time.as_secs() }
        }
        Error::CertNotValidYet { time, not_before } => {
            SvidError::NotYetValid { not_before: not_before.as_secs(), now: time.as_secs() }
        }
        Error::EmptyEkuExtension => SvidError::ExtendedKeyUsage { purpose },
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
            SvidError::UnknownAuthority { reason: format!("{error:?}") }
        }
        _ => SvidError::Path { reason: format!("{error:?}") },
    }
}
