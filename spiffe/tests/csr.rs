//! Certificate signing requests: whoever asks for a certificate holds the key (Threat 37).
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "openssl is asked for its opinion, and makes what nothing else here makes"
)]

use std::process::Command;

use plastron_spiffe::KeyError;
use plastron_spiffe::x509::{CsrError, OtherName, verify_csr};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};

fn request(key: &KeyPair, sans: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans;
    params.serialize_request(key).unwrap().der().to_vec()
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

#[test]
fn each_kind_of_key_is_accepted() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA512,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names = vec![uri("spiffe://td/a"), SanType::DnsName("web".try_into().unwrap()), uri("spiffe://td/b")];
        let csr = verify_csr(&request(&key, names)).unwrap();
        assert_eq!(csr.public_key, key.subject_public_key_info());
        assert_eq!(csr.uris, ["spiffe://td/a", "spiffe://td/b"]);
        assert_eq!(csr.dns_names, ["web"]);
    }
    let bare = verify_csr(&request(&KeyPair::generate().unwrap(), Vec::new())).unwrap();
    assert!(bare.uris.is_empty() && bare.dns_names.is_empty());
}

/// Noted, because who mints refuses them; who issues by a registration entry looks at none.
#[test]
fn other_sans_and_the_subject_are_noted() {
    let other = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "a@b".into()));
    let sans = vec![
        SanType::Rfc822Name("a@example.org".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        uri("spiffe://td/a"),
        other,
    ];
    let csr = verify_csr(&request(&KeyPair::generate().unwrap(), sans)).unwrap();
    assert_eq!(csr.other_names, [OtherName::Email, OtherName::Ip, OtherName::Other]);
    assert_eq!(csr.uris, ["spiffe://td/a"]);
    // rcgen's default subject is a common name.
    assert!(csr.subject.windows(22).any(|text| text == b"rcgen self signed cert"), "{:?}", csr.subject);
}

/// Threat 37: every bit of a request is signed, or is the signature.
#[test]
fn a_request_that_was_changed_is_refused() {
    let key = KeyPair::generate().unwrap();
    let good = request(&key, vec![uri("spiffe://td/a")]);
    let mut refusals = std::collections::HashSet::new();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        refusals.insert(std::mem::discriminant(&verify_csr(&changed).unwrap_err()));
    }
    assert!(refusals.contains(&std::mem::discriminant(&CsrError::Signature)));
    // Another's key in the place of one's own.
    let own = key.subject_public_key_info();
    let other = KeyPair::generate().unwrap().subject_public_key_info();
    let at = good.windows(own.len()).position(|window| window == own).unwrap();
    let mut stolen = good.clone();
    stolen[at..at + own.len()].copy_from_slice(&other);
    assert_eq!(verify_csr(&stolen).unwrap_err(), CsrError::Signature);
}

#[test]
fn malformed_and_oversized_requests_are_refused() {
    let good = request(&KeyPair::generate().unwrap(), vec![uri("spiffe://td/a")]);
    let trailing = [good.as_slice(), &[0]].concat();
    for bytes in [&[][..], b"garbage", &good[..good.len() - 1], &trailing, &[0x30, 0x80]] {
        let got = verify_csr(bytes).unwrap_err();
        assert!(matches!(got, CsrError::Malformed { .. }), "{got}");
    }
    let too_large = |what, got, limit| CsrError::TooLarge { what, got, limit };
    assert_eq!(verify_csr(&vec![0x30; 16_385]).unwrap_err(), too_large("bytes", 16_385, 16_384));
    let key = KeyPair::generate().unwrap();
    let many = request(&key, (0..17).map(|n| uri(&format!("spiffe://td/{n}"))).collect());
    assert_eq!(verify_csr(&many).unwrap_err(), too_large("URI SANs", 17, 16));
    let many = request(&key, (0..129).map(|n| SanType::DnsName(format!("a{n}").try_into().unwrap())).collect());
    assert_eq!(verify_csr(&many).unwrap_err(), too_large("DNS SANs", 129, 128));
}

/// Threat 29: keys that are too weak, and too expensive to verify. Made with openssl, since nothing else here makes them.
#[test]
fn keys_that_svids_may_not_have_are_refused() {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x", "-outform", "DER", "-newkey"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    verify_csr(&openssl(&["rsa:2048"])).unwrap();
    let modulus = |bits| CsrError::UnsupportedKey(KeyError::RsaModulus { bits });
    assert_eq!(verify_csr(&openssl(&["rsa:1024"])).unwrap_err(), modulus(1024));
    assert_eq!(verify_csr(&openssl(&["rsa:2048", "-sha1"])).unwrap_err(), CsrError::UnsupportedSignature);
    let curve = openssl(&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
    assert_eq!(verify_csr(&curve).unwrap_err(), CsrError::UnsupportedKey(KeyError::Unsupported));
    assert_eq!(verify_csr(&openssl(&["ed448"])).unwrap_err(), CsrError::UnsupportedKey(KeyError::Unsupported));
}
