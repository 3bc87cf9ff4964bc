//! What administrators add to the bundle.

use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::bundle::v1::{AppendBundleRequest, GetBundleRequest};
use plastron_proto::types::{Bundle, BundleMask, JwtKey, X509Certificate};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tonic::{Code, Status};

use crate::harness::Server;

async fn append(server: &Server, x509: Vec<X509Certificate>, jwt: Vec<JwtKey>) -> Result<Bundle, Status> {
    let request = AppendBundleRequest { x509_authorities: x509, jwt_authorities: jwt, ..Default::default() };
    Ok(BundleClient::new(server.local.clone()).append_bundle(request).await?.into_inner())
}

fn jwt_key(key_id: &str, public_key: Vec<u8>) -> JwtKey {
    JwtKey { public_key, key_id: key_id.to_owned(), expires_at: 1_900_000_000, tainted: true }
}

fn ca(is_ca: rcgen::IsCa) -> X509Certificate {
    let mut params = CertificateParams::default();
    params.is_ca = is_ca;
    let asn1 = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    X509Certificate { asn1, tainted: true }
}

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    KeyPair::generate_for(algorithm).unwrap().subject_public_key_info()
}

#[tokio::test]
async fn appended_authorities_are_in_the_bundle_and_never_tainted_by_it() {
    let server = Server::start().await;
    let root = ca(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let keys = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_RSA_SHA256].map(key);
    let named = keys.iter().enumerate().map(|(n, key)| jwt_key(&format!("key-{n}"), key.clone())).collect();
    let appended = append(&server, vec![root.clone()], named).await.unwrap();
    let bundle = BundleClient::new(server.local.clone()).get_bundle(GetBundleRequest { output_mask: None }).await;
    assert_eq!(bundle.unwrap().into_inner(), appended);
    assert!(appended.x509_authorities.iter().any(|authority| authority.asn1 == root.asn1));
    for (n, key) in keys.iter().enumerate() {
        let expected = JwtKey { tainted: false, ..jwt_key(&format!("key-{n}"), key.clone()) };
        assert!(appended.jwt_authorities.contains(&expected), "{expected:?}");
    }
    assert!(appended.x509_authorities.iter().all(|authority| !authority.tainted));
    let mask = BundleMask { jwt_authorities: true, ..BundleMask::default() };
    let request = GetBundleRequest { output_mask: Some(mask) };
    let masked = BundleClient::new(server.local.clone()).get_bundle(request).await.unwrap().into_inner();
    assert_eq!(masked.jwt_authorities, appended.jwt_authorities);
    assert!(masked.x509_authorities.is_empty() && masked.sequence_number == 0);
}

/// Whoever publishes its key again and again, as SPIRE's own test of administrators does, has it live on.
#[tokio::test]
async fn a_key_that_is_appended_again_gets_the_later_end() {
    let server = Server::start().await;
    let public_key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let until = |expires_at| JwtKey { expires_at, tainted: false, ..jwt_key("again", public_key.clone()) };
    let end = 1_900_000_000;
    for (sent, kept) in [(end, end), (end + 60, end + 60), (end, end + 60), (0, 0), (end, 0)] {
        let bundle = append(&server, Vec::new(), vec![until(sent)]).await.unwrap();
        let found: Vec<_> = bundle.jwt_authorities.iter().filter(|known| known.key_id == "again").collect();
        assert_eq!(found, [&until(kept)], "after {sent}; 0 never ends");
    }
}

/// Tokens that name it would be verified with the wrong key by some.
#[tokio::test]
async fn another_key_with_a_known_key_id_is_refused_and_not_passed_over() {
    let server = Server::start().await;
    let [one, other] = [(); 2].map(|()| jwt_key("taken", key(&rcgen::PKCS_ECDSA_P256_SHA256)));
    let refused = append(&server, Vec::new(), vec![one.clone(), other.clone()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
    append(&server, Vec::new(), vec![one]).await.unwrap();
    let refused = append(&server, Vec::new(), vec![other]).await.unwrap_err();
    let words = r#"the bundle has another JWT authority with the key ID "taken""#;
    assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, words));
}

/// Agents would have to skip them, and one that can't be read would keep the bundle from being told at all.
#[tokio::test]
async fn what_no_one_could_verify_with_is_refused() {
    let server = Server::start().await;
    let good = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let cases = [
        (Vec::new(), Vec::new(), "no authorities to append"),
        (Vec::new(), vec![jwt_key("", good.clone())], "JWT authority 0 is refused: missing key ID"),
        (Vec::new(), vec![jwt_key("a", good.clone()), jwt_key("b", Vec::new())], "JWT authority 1 is refused: "),
        (Vec::new(), vec![jwt_key("a", good[1..].to_vec())], "JWT authority 0 is refused: "),
        (Vec::new(), vec![jwt_key("a", key(&rcgen::PKCS_ED25519))], "JWT authority 0 is refused: "),
        (vec![ca(rcgen::IsCa::ExplicitNoCa)], vec![jwt_key("a", good)], "X.509 authority 0 is refused: "),
        (vec![X509Certificate { asn1: vec![0x30], tainted: false }], Vec::new(), "X.509 authority 0 is refused: "),
    ];
    for (x509, jwt, expected) in cases {
        let refused = append(&server, x509, jwt).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{expected}");
        assert!(refused.message().starts_with(expected), "{refused:?}, where {expected:?} was expected");
    }
}
