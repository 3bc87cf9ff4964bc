//! Vectors of bundle documents (V-B).

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData};
use serde_json::{Value, json};

use super::*;

/// Makes a good key unusable. The text is the certificate of a leaf.
type Change = fn(&mut Value, &str);

fn td() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, ca: bool) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    (params.self_signed(&key).unwrap().der().to_vec(), key.subject_public_key_info())
}

fn bundle() -> Bundle {
    let algorithms = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    let mut bundle = Bundle::empty(td());
    for (index, algorithm) in algorithms.into_iter().enumerate() {
        let (certificate, public_key) = certificate(algorithm, true);
        bundle.x509_authorities.push(X509Authority::parse(certificate).unwrap());
        let key_id = format!("kid{index}");
        bundle.jwt_authorities.push(JwtAuthority { key_id, public_key, expires_at: 0, tainted: false });
    }
    bundle.sequence_number = u64::MAX;
    bundle.refresh_hint = 300;
    bundle
}

fn read(document: &Value) -> Result<Bundle, BundleError> {
    Bundle::from_spiffe_json(td(), document.to_string().as_bytes())
}

/// A document with a good X.509 and a good JWT key, and `change` applied to the keys.
fn with_keys(change: impl FnOnce(&mut Vec<Value>)) -> Bundle {
    let bundle = bundle();
    let mut document: Value = serde_json::from_str(&bundle.to_spiffe_json().unwrap()).unwrap();
    let keys = document["keys"].as_array_mut().unwrap();
    *keys = vec![keys[0].clone(), keys[3].clone()];
    change(keys);
    read(&document).unwrap()
}

#[test]
fn documents_round_trip() {
    let bundle = bundle();
    let document = bundle.to_spiffe_json().unwrap();
    assert_eq!(Bundle::from_spiffe_json(td(), document.as_bytes()).unwrap(), bundle);
    let value: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(value["spiffe_sequence"], json!(u64::MAX));
    for key in value["keys"].as_array().unwrap() {
        let x509 = key["use"] == json!("x509-svid");
        assert_eq!(key.get("kid").is_none(), x509, "only JWT keys have a kid");
        assert_eq!(key.get("x5c").map(|x5c| x5c.as_array().unwrap().len()), x509.then_some(1));
    }
}

#[test]
fn an_rsa_key_round_trips() {
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(aws_lc_rs::signature::KeyPair::public_key(&key)).unwrap();
    let mut bundle = Bundle::empty(td());
    let public_key = spki.as_ref().to_vec();
    bundle.jwt_authorities.push(JwtAuthority { key_id: "r".to_owned(), public_key, expires_at: 0, tainted: false });
    let document = bundle.to_spiffe_json().unwrap();
    assert_eq!(Bundle::from_spiffe_json(td(), document.as_bytes()).unwrap(), bundle);
}

#[test]
fn workload_api_jwks_have_kid_and_no_use() {
    let value: Value = serde_json::from_str(&bundle().to_jwt_jwks().unwrap()).unwrap();
    let keys = value["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key.get("use").is_none() && key["kid"].is_string() && key.get("x5c").is_none()));
    assert_eq!(value.as_object().unwrap().len(), 1);
}

#[test]
fn documents_that_are_accepted() {
    assert_eq!(read(&json!({"keys": []})).unwrap(), Bundle::empty(td()));
    assert_eq!(read(&json!({"keys": [], "unknown": {"a": 1}})).unwrap(), Bundle::empty(td()));
    let exact = read(&json!({"keys": [], "spiffe_sequence": (1u64 << 53) + 1, "spiffe_refresh_hint": 1})).unwrap();
    assert_eq!((exact.sequence_number, exact.refresh_hint), ((1 << 53) + 1, 1));
}

#[test]
fn documents_that_are_refused() {
    for document in [
        json!({}),
        json!([]),
        json!({"keys": null}),
        json!({"keys": {}}),
        json!({"keys": [], "spiffe_sequence": -1}),
        json!({"keys": [], "spiffe_sequence": "1"}),
        json!({"keys": [], "spiffe_sequence": 1.5}),
        json!({"keys": [], "spiffe_refresh_hint": "300"}),
        json!({"keys": [], "spiffe_refresh_hint": 300.5}),
        json!({"keys": [], "spiffe_refresh_hint": -1}),
    ] {
        assert!(matches!(read(&document), Err(BundleError::Json { .. })), "{document}");
    }
    let deep = format!("{{\"keys\": [{}1{}]}}", "[".repeat(500), "]".repeat(500));
    let raw: [&[u8]; 8] = [
        b"",
        b"{\"keys\": []} x",
        b"{\"keys\": []}{}",
        b"\xef\xbb\xbf{\"keys\": []}",
        b"{\"keys\": [], \"a\": \"\xff\"}",
        b"{\"keys\": [], \"keys\": []}",
        b"{\"keys\": [], \"spiffe_sequence\": 18446744073709551616}",
        deep.as_bytes(),
    ];
    for document in raw {
        let got = Bundle::from_spiffe_json(td(), document);
        assert!(matches!(got, Err(BundleError::Json { .. })), "{:?}", document.escape_ascii().to_string());
    }
    let long = vec![b' '; MAX_DOCUMENT_LEN + 1];
    assert!(matches!(Bundle::from_spiffe_json(td(), &long), Err(BundleError::TooLarge { .. })));
    let many = json!({"keys": vec![json!({}); MAX_AUTHORITIES + 1]});
    assert!(matches!(read(&many), Err(BundleError::TooLarge { what: "keys", .. })));
}

#[test]
fn a_bad_key_is_ignored_and_the_good_ones_are_kept() {
    let (leaf, _) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, false);
    let leaf = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, leaf);
    let x509: [(&str, Change); 13] = [
        ("no use", |key, _| drop(key.as_object_mut().unwrap().remove("use"))),
        ("use sig", |key, _| key["use"] = json!("sig")),
        ("use in upper case", |key, _| key["use"] = json!("X509-SVID")),
        ("wit", |key, _| key["use"] = json!("wit-svid")),
        ("unknown kty", |key, _| key["kty"] = json!("AKP")),
        ("unknown curve", |key, _| key["crv"] = json!("secp256k1")),
        ("kty is a number", |key, _| key["kty"] = json!(1)),
        ("no x5c", |key, _| drop(key.as_object_mut().unwrap().remove("x5c"))),
        ("empty x5c", |key, _| key["x5c"] = json!([])),
        ("x5c is not DER", |key, _| key["x5c"] = json!(["AAAA"])),
        ("x5c is not base64", |key, _| key["x5c"] = json!(["*"])),
        ("x5c is a leaf", |key, leaf| key["x5c"] = json!([leaf])),
        ("x of another length", |key, _| key["x"] = json!("AAAA")),
    ];
    for (name, change) in x509 {
        let got = with_keys(|keys| change(&mut keys[0], &leaf));
        assert_eq!((got.x509_authorities.len(), got.jwt_authorities.len()), (0, 1), "{name}");
    }
    let jwt: [(&str, Change); 5] = [
        ("no kid", |key, _| drop(key.as_object_mut().unwrap().remove("kid"))),
        ("empty kid", |key, _| key["kid"] = json!("")),
        ("kid is a number", |key, _| key["kid"] = json!(7)),
        ("OKP X25519", |key, _| {
            *key = json!({"use": "jwt-svid", "kid": "a", "kty": "OKP", "crv": "X25519", "x": "AAAA"})
        }),
        ("point off the curve", |key, _| key["y"] = key["x"].clone()),
    ];
    for (name, change) in jwt {
        let got = with_keys(|keys| change(&mut keys[1], &leaf));
        assert_eq!((got.x509_authorities.len(), got.jwt_authorities.len()), (1, 0), "{name}");
    }
    let rest = with_keys(|keys| keys.extend([json!(null), json!("x"), json!({}), json!([1])]));
    assert_eq!((rest.x509_authorities.len(), rest.jwt_authorities.len()), (1, 1));
}

#[test]
fn a_key_beside_another_certificate_is_ignored() {
    let got = with_keys(|keys| {
        let (other, _) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, true);
        keys[0]["x5c"] = json!([base64::Engine::encode(&base64::prelude::BASE64_STANDARD, other)]);
    });
    assert_eq!(got.x509_authorities, []);
}

#[test]
fn only_the_first_x5c_counts() {
    let got = with_keys(|keys| keys[0]["x5c"].as_array_mut().unwrap().push(json!("not a certificate")));
    assert_eq!(got.x509_authorities.len(), 1);
}

#[test]
fn the_last_key_of_one_kid_wins() {
    let got = with_keys(|keys| {
        let mut second = keys[1].clone();
        second["x"] = keys[0]["x"].clone();
        second["y"] = keys[0]["y"].clone();
        keys.push(second);
    });
    assert_eq!(got.jwt_authorities.len(), 1);
    let certified = public_key(&got.x509_authorities[0].certificate).unwrap();
    assert_eq!(got.jwt_authorities[0].public_key, certified);
}

#[test]
fn pem_round_trips_and_names_its_faults() {
    let mut expected = Bundle::empty(td());
    expected.x509_authorities = bundle().x509_authorities;
    let pem = expected.to_pem();
    assert_eq!(Bundle::from_pem(td(), format!("comment\n{pem}\n").as_bytes()).unwrap(), expected);

    let refused = |pem: &str| Bundle::from_pem(td(), pem.as_bytes()).unwrap_err();
    assert_eq!(refused(""), BundleError::NoCertificate);
    assert_eq!(refused("garbage"), BundleError::NoCertificate);
    assert!(matches!(refused(pem.trim_end().trim_end_matches('-')), BundleError::Pem { .. }));
    assert!(matches!(
        refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        BundleError::Certificate { .. }
    ));
    let (leaf, _) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, false);
    let leaf = Bundle { x509_authorities: vec![X509Authority { certificate: leaf, tainted: false }], ..expected };
    assert_eq!(refused(&(pem + &leaf.to_pem())), BundleError::NotACa);
    assert!(matches!(refused(&" ".repeat(MAX_DOCUMENT_LEN + 1)), BundleError::TooLarge { .. }));
}

/// What goes into the Workload API comes out again, and nothing else is taken for certificates.
#[test]
fn concatenated_certificates_are_read_as_they_were_written() {
    let authority = || X509Authority::parse(certificate(&rcgen::PKCS_ECDSA_P256_SHA256, true).0).unwrap();
    let bundle = Bundle { x509_authorities: vec![authority(), authority()], ..Bundle::empty(td()) };
    let der = bundle.x509_authorities_der();
    assert_eq!(Bundle::from_x509_authorities_der(td(), &der), Ok(bundle));
    let leaf = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, false).0;
    let with_leaf = [der.as_slice(), &leaf].concat();
    assert_eq!(Bundle::from_x509_authorities_der(td(), &with_leaf), Err(BundleError::NotACa));
    assert_eq!(Bundle::from_x509_authorities_der(td(), &[]), Err(BundleError::NoCertificate));
    for cut in [1, 3, der.len() / 2 - 1, der.len() - 1] {
        let refused = Bundle::from_x509_authorities_der(td(), &der[..cut]);
        assert!(matches!(refused, Err(BundleError::Certificate { .. })), "{cut}: {refused:?}");
    }
    let long = vec![0x30; MAX_DOCUMENT_LEN + 1];
    assert!(matches!(Bundle::from_x509_authorities_der(td(), &long), Err(BundleError::TooLarge { .. })));
}
