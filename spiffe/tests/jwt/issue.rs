//! Tokens that we issue.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::{JwtAlgorithm, JwtIssueError, JwtSvidTemplate, MAX_TOKEN_LEN};

use crate::fixture::{AUDIENCE, KEYS, NOW, WEB, judge, key_for, key_id};

fn template<'a>(id: &'a SpiffeId, audience: &'a [String]) -> JwtSvidTemplate<'a> {
    JwtSvidTemplate { spiffe_id: id, audience, issuer: None, issued_at: NOW, expires_at: NOW + 300, jti: None }
}

fn web() -> SpiffeId {
    SpiffeId::parse(WEB).unwrap()
}

fn audience() -> Vec<String> {
    vec![AUDIENCE.to_owned(), "other".to_owned()]
}

#[test]
fn what_is_issued_validates_with_every_algorithm() {
    for algorithm in JwtAlgorithm::ALL {
        let (id, audience, key) = (web(), audience(), key_for(algorithm));
        // Short numbers in r and s come once in 128 signatures, and have to be padded.
        for _ in 0..if key.algorithm() == JwtAlgorithm::Rs256 { 1 } else { 300 } {
            let unsigned = template(&id, &audience).to_unsigned(algorithm, key_id(key)).unwrap();
            let signature = key.sign_as_a_store(algorithm, unsigned.as_bytes());
            let svid = judge(&unsigned.assemble(&signature).unwrap()).unwrap();
            assert_eq!(svid.audience(), audience);
        }
    }
}

#[test]
fn header_and_claims_are_these_and_no_others() {
    let (id, audience) = (web(), audience());
    let full = JwtSvidTemplate { issuer: Some("https://issuer"), jti: Some("unique"), ..template(&id, &audience) };
    for (template, claims) in [
        (
            template(&id, &audience),
            r#"{"aud":["db.example.org","other"],"exp":1780272300,"iat":1780272000,"sub":"spiffe://example.org/web"}"#,
        ),
        (
            full,
            r#"{"aud":["db.example.org","other"],"exp":1780272300,"iat":1780272000,"iss":"https://issuer","jti":"unique","sub":"spiffe://example.org/web"}"#,
        ),
    ] {
        let unsigned = template.to_unsigned(JwtAlgorithm::Es256, "k1").unwrap();
        let text = std::str::from_utf8(unsigned.as_bytes()).unwrap();
        let parts: Vec<_> =
            text.split('.').map(|part| String::from_utf8(BASE64_URL.decode(part).unwrap()).unwrap()).collect();
        assert_eq!(parts, [r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#, claims]);
    }
}

#[test]
fn the_digest_is_the_algorithms() {
    let (id, audience) = (web(), audience());
    for algorithm in JwtAlgorithm::ALL {
        let unsigned = template(&id, &audience).to_unsigned(algorithm, "k1").unwrap();
        let hash = match algorithm.as_str().strip_prefix(['R', 'E', 'P']).unwrap() {
            "S256" => &aws_lc_rs::digest::SHA256,
            "S384" => &aws_lc_rs::digest::SHA384,
            _ => &aws_lc_rs::digest::SHA512,
        };
        assert_eq!(unsigned.digest(), aws_lc_rs::digest::digest(hash, unsigned.as_bytes()).as_ref());
        assert_eq!(unsigned.algorithm(), algorithm);
    }
}

#[test]
fn what_no_validator_accepts_is_not_issued() {
    let (id, good) = (web(), audience());
    let root = SpiffeId::parse("spiffe://example.org").unwrap();
    let refusal =
        |template: JwtSvidTemplate<'_>, key_id| template.to_unsigned(JwtAlgorithm::Es256, key_id).unwrap_err();
    assert_eq!(refusal(template(&root, &good), "k1"), JwtIssueError::RootPath { id: root.clone() });
    assert_eq!(refusal(template(&id, &[]), "k1"), JwtIssueError::Audience);
    let empty = ["a".to_owned(), String::new()];
    assert_eq!(refusal(template(&id, &empty), "k1"), JwtIssueError::Audience);
    assert_eq!(refusal(template(&id, &good), ""), JwtIssueError::KeyId);
    let backwards = JwtSvidTemplate { expires_at: NOW - 1, ..template(&id, &good) };
    let error = JwtIssueError::Validity { issued_at: NOW, expires_at: NOW - 1 };
    assert_eq!(refusal(backwards, "k1"), error);
    let long = ["a".repeat(MAX_TOKEN_LEN)];
    assert!(matches!(refusal(template(&id, &long), "k1"), JwtIssueError::TooLarge { .. }));
}

#[test]
fn a_token_that_its_signature_makes_too_long_is_not_issued() {
    let id = web();
    let room = |len: usize| {
        let audience = ["a".repeat(len)];
        template(&id, &audience).to_unsigned(JwtAlgorithm::Rs256, "k1")?.assemble(&[7; 256])
    };
    let longest = (0..MAX_TOKEN_LEN * 3 / 4).rev().find(|len| room(*len).is_ok()).unwrap();
    assert!(room(longest).unwrap().len() <= MAX_TOKEN_LEN);
    assert!(matches!(room(longest + 2).unwrap_err(), JwtIssueError::TooLarge { .. }));
}

#[test]
fn what_is_no_signature_makes_no_token() {
    let (id, audience) = (web(), audience());
    let assemble = |algorithm, signature: &[u8]| {
        template(&id, &audience).to_unsigned(algorithm, "k1").unwrap().assemble(signature)
    };
    let p384 = KEYS.p384.sign_as_a_store(JwtAlgorithm::Es384, b"");
    let mut trailing = KEYS.p256.sign_as_a_store(JwtAlgorithm::Es256, b"");
    trailing.push(0);
    for (algorithm, signature) in [
        (JwtAlgorithm::Es256, Vec::new()),
        (JwtAlgorithm::Es256, vec![7; 64]),
        (JwtAlgorithm::Es256, p384),
        (JwtAlgorithm::Es256, trailing),
        (JwtAlgorithm::Rs256, Vec::new()),
    ] {
        let error = assemble(algorithm, &signature).unwrap_err();
        assert!(matches!(error, JwtIssueError::Signature { .. }), "{error}");
    }
}
