//! What is shown of a chain to people (SPIRE's Debug APIs): IDs, ends and subjects, from the SVID to the authority in the bundle. Shows, and
//! proves nothing.

use der::Decode as _;
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::name::RelativeDistinguishedName;

use super::{CertificateFacts, Purpose, X509Svid, verify_chain};
use crate::{Bundle, SpiffeId, X509Authority};

/// What is shown of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The SPIFFE ID, where it has exactly one URI SAN and that is one.
    pub id: Option<SpiffeId>,
    /// Unix seconds.
    pub not_after: u64,
    /// RFC 4514, with attribute names in upper case as Go writes them.
    pub subject: String,
}

/// The SVID's chain, then the authority in the bundle that it leads to at `now`, where there is one. A certificate that can't be read is
/// left out.
pub fn shown_chain(svid: &X509Svid, bundle: &Bundle, now: UnixTime) -> Vec<ShownCertificate> {
    let authority = authority_of(svid, bundle, now);
    svid.chain().iter().map(Vec::as_slice).chain(authority).filter_map(show).collect()
}

/// The certificate in the bundle that the chain leads to.
fn authority_of<'a>(svid: &X509Svid, bundle: &'a Bundle, now: UnixTime) -> Option<&'a [u8]> {
    let leads_to = |authority: &&X509Authority| {
        let only =
            Bundle { x509_authorities: vec![(*authority).clone()], ..Bundle::empty(bundle.trust_domain.clone()) };
        verify_chain(svid.clone(), &only, Purpose::Any, now).is_ok()
    };
    bundle.x509_authorities.iter().find(leads_to).map(|authority| authority.certificate.as_slice())
}

fn show(der: &[u8]) -> Option<ShownCertificate> {
    let CertificateFacts { public_key: _, uris, not_after } = CertificateFacts::read(der).ok()?;
    let certificate = Certificate::from_der(der).ok()?;
    let id = match uris.as_slice() {
        [uri] => SpiffeId::parse(uri).ok(),
        _ => None,
    };
    Some(ShownCertificate { id, not_after, subject: subject(&certificate) })
}

/// The last attribute first, as RFC 4514 has it.
fn subject(certificate: &Certificate) -> String {
    let name = certificate.tbs_certificate().subject();
    let relative = |rdn: &RelativeDistinguishedName| {
        let pairs = rdn.iter().map(|pair| match pair.to_string().split_once('=') {
            Some((attribute, value)) => format!("{}={value}", attribute.to_ascii_uppercase()),
            None => String::new(),
        });
        pairs.collect::<Vec<_>>().join("+")
    };
    let parts: Vec<String> = name.iter_rdn().map(relative).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}
