//! What a verified certificate says of its node: the selectors, and the fields of a path template. SHA-1 fingerprints are SPIRE's
//! identifiers; nothing is proven by them.

use std::collections::BTreeMap;

use der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use der::{Tag, Tagged as _};
use plastron_spiffe::{Selector, TrustDomain};
use sha1::{Digest as _, Sha1};
use x509_cert::Certificate;
use x509_cert::attr::AttributeValue;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::NAME;
use crate::chain::TrustedChain;

/// id-at-commonName (RFC 5280, appendix A.1).
const COMMON_NAME: der::oid::ObjectIdentifier = der::oid::ObjectIdentifier::new_unwrap("2.5.4.3");
/// Most selectors of URI names: a certificate of 16 KiB has room for no more that are of use.
const MAX_URI_SELECTORS: usize = 64;

/// What selectors and templates are made of.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) fingerprint: String,
    pub(crate) serial_number_hex: String,
    pub(crate) common_name: String,
    pub(crate) uri_san_selectors: BTreeMap<String, String>,
    authorities: Vec<String>,
}

impl Description {
    pub(crate) fn of(chain: &TrustedChain, trust_domain: &TrustDomain) -> Self {
        let mut authorities: Vec<String> = Vec::new();
        for certificate in &chain.above {
            let fingerprint = fingerprint(certificate);
            if !authorities.contains(&fingerprint) {
                authorities.push(fingerprint);
            }
        }
        Self {
            fingerprint: fingerprint(&chain.leaf_der),
            serial_number_hex: serial_number_hex(&chain.leaf),
            common_name: common_name(&chain.leaf).unwrap_or_default(),
            uri_san_selectors: uri_san_selectors(&chain.leaf, trust_domain),
            authorities,
        }
    }

    /// `subject:cn:…`, `ca:fingerprint:…` for each certificate above the leaf, `serialnumber:…`, `san:<key>:<value>`. A value that can't
    /// be one (a control character) makes no selector.
    pub(crate) fn selectors(&self) -> Vec<Selector> {
        let Self { fingerprint: _, serial_number_hex, common_name, uri_san_selectors, authorities } = self;
        let mut values = Vec::new();
        if !common_name.is_empty() {
            values.push(format!("subject:cn:{common_name}"));
        }
        values.extend(authorities.iter().map(|fingerprint| format!("ca:fingerprint:{fingerprint}")));
        values.push(format!("serialnumber:{serial_number_hex}"));
        values.extend(uri_san_selectors.iter().map(|(key, value)| format!("san:{key}:{value}")));
        values
            .into_iter()
            .filter(|value| !value.chars().any(char::is_control))
            .filter_map(|value| Selector::new(NAME, value).ok())
            .collect()
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(Sha1::digest(certificate))
}

/// Lower-case, an even number of digits, without the sign octet.
fn serial_number_hex(leaf: &Certificate) -> String {
    let octets = leaf.tbs_certificate().serial_number().as_bytes();
    let significant = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len().saturating_sub(1));
    hex::encode(octets.get(significant..).unwrap_or(octets))
}

/// The last common name, as Go reads it.
fn common_name(leaf: &Certificate) -> Option<String> {
    let subject = leaf.tbs_certificate().subject();
    let last = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME).last();
    last.and_then(|attribute| text(&attribute.value))
}

fn text(value: &AttributeValue) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::Ia5String => value.decode_as::<der::asn1::Ia5StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        _other => None,
    }
}

/// `x509pop://<trust domain>/<key>/<value>`: what is not of that form is passed over.
fn uri_san_selectors(leaf: &Certificate, trust_domain: &TrustDomain) -> BTreeMap<String, String> {
    let prefix = format!("x509pop://{trust_domain}/");
    let Ok(Some((_critical, SubjectAltName(names)))) = leaf.tbs_certificate().get_extension::<SubjectAltName>() else {
        return BTreeMap::new();
    };
    let mut selectors = BTreeMap::new();
    for name in &names {
        let GeneralName::UniformResourceIdentifier(uri) = name else { continue };
        let Some(path) = uri.as_str().strip_prefix(&prefix) else { continue };
        if let Some((key, value)) = path.trim_matches('/').split_once('/')
            && selectors.len() < MAX_URI_SELECTORS
        {
            selectors.insert(key.to_owned(), value.to_owned());
        }
    }
    selectors
}
