//! The subject that a CSR asks for, as far as it is granted.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use der::{Any, Decode as _, Encode as _, Tag};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{
    CaTemplate, Issuer, LeafTemplate, MAX_SUBJECT_LEN, SerialNumber, SignatureAlgorithm, Subject, SubjectError,
};
use rustls_pki_types::UnixTime;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::RdnSequence;

const CN: &str = "2.5.4.3";
const SERIAL: &str = "2.5.4.5";
const COUNTRY: &str = "2.5.4.6";
const ORGANIZATION: &str = "2.5.4.10";
const UNIT: &str = "2.5.4.11";
const EMAIL: &str = "1.2.840.113549.1.9.1";

/// A Name with one attribute in each part.
fn name(attributes: &[(&str, Tag, &[u8])]) -> Vec<u8> {
    let mut parts = RdnSequence::default();
    for (oid, tag, value) in attributes {
        let value = Any::new(*tag, *value).unwrap();
        let attribute = AttributeTypeAndValue { oid: oid.parse().unwrap(), value };
        parts.push(vec![attribute].try_into().unwrap());
    }
    parts.to_der().unwrap()
}

fn texts(attributes: &[(&str, &str)]) -> Vec<u8> {
    name(&attributes.iter().map(|(oid, text)| (*oid, Tag::Utf8String, text.as_bytes())).collect::<Vec<_>>())
}

/// The subject of an SVID that was issued with this one.
fn issued(subject: Option<&Subject>, dns_names: &[&str]) -> String {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000));
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let public_key: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let public_key = public_key.as_ref();
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let serial = SerialNumber::from_random([7; 16]);
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let ca = CaTemplate {
        spiffe_id: &id.trust_domain().id(),
        public_key,
        country: &[],
        organization: &[],
        common_name: "ca",
        serial: &serial,
        not_before: now,
        not_after: now,
    };
    let ca = ca.to_tbs(algorithm).unwrap().assemble(&[1]).unwrap();
    let template = LeafTemplate {
        spiffe_id: &id,
        public_key,
        subject,
        dns_names: &dns_names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        serial: &serial,
        not_before: now,
        not_after: now,
    };
    let issuer = Issuer::from_certificate(&ca, algorithm).unwrap();
    let leaf = template.to_tbs(&issuer).unwrap().assemble(&[1]).unwrap();
    let leaf = Certificate::from_der(&leaf).unwrap();
    leaf.tbs_certificate()
        .subject()
        .iter()
        .map(|part| format!("{}={}", part.oid, text(&part.value)))
        .collect::<Vec<_>>()
        .join(",")
}

fn text(value: &Any) -> String {
    String::from_utf8(value.value().to_vec()).unwrap()
}

#[test]
fn an_asked_for_subject_is_written_in_one_order() {
    let asked = texts(&[
        (CN, "first"),
        (SERIAL, "7"),
        (UNIT, "b"),
        (UNIT, "a"),
        (ORGANIZATION, "Zürich"),
        (COUNTRY, "CH"),
        (EMAIL, "a@b"),
        (CN, "last"),
    ]);
    let subject = Subject::from_name(&asked).unwrap();
    let with =
        |common_name| format!("2.5.4.6=CH,2.5.4.10=Zürich,2.5.4.11=a,2.5.4.11=b,2.5.4.3={common_name},2.5.4.5=7");
    assert_eq!(issued(subject.as_ref(), &[]), with("last"));
    // The first DNS name is the common name, as it is without a subject.
    assert_eq!(issued(subject.as_ref(), &["web.example.org", "b"]), with("web.example.org"));
    assert_eq!(issued(None, &[]), "2.5.4.6=US,2.5.4.10=SPIRE");
    assert_eq!(issued(None, &["web"]), "2.5.4.6=US,2.5.4.10=SPIRE,2.5.4.3=web");
}

#[test]
fn a_subject_without_anything_that_counts_is_none() {
    assert_eq!(Subject::from_name(&name(&[])).unwrap(), None);
    assert_eq!(Subject::from_name(&texts(&[(EMAIL, "a@b")])).unwrap(), None);
}

#[test]
fn subjects_that_are_refused() {
    let long = texts(&[(CN, &"a".repeat(MAX_SUBJECT_LEN))]);
    assert_eq!(Subject::from_name(&long).unwrap_err(), SubjectError::TooLarge { len: long.len() });
    for bytes in [&b""[..], b"garbage", &[0x30, 1], &[0x30, 0, 0]] {
        assert!(matches!(Subject::from_name(bytes).unwrap_err(), SubjectError::Malformed { .. }));
    }
    for (tag, value) in [(Tag::Utf8String, &b"\xff"[..]), (Tag::OctetString, b"a"), (Tag::BmpString, b"\0a")] {
        let attribute = CN.parse().unwrap();
        assert_eq!(Subject::from_name(&name(&[(CN, tag, value)])).unwrap_err(), SubjectError::NotText { attribute });
    }
}
