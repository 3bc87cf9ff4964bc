//! Tokens that validators have to refuse, each for its own reason.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use plastron_spiffe::jwt::{JwtAlgorithm, JwtError, LEEWAY, MAX_TOKEN_LEN, Part, UnverifiedJwt, validate};
use plastron_spiffe::{KeyError, SpiffeIdError, TrustDomain};
use serde_json::{Value, json};

use crate::fixture::{
    AUDIENCE, KEYS, NOW, at, authority, bundle, claims, claims_with, header, header_with, judge, key_for, key_id,
    segment, token, token_of,
};

/// SubjectPublicKeyInfo of an RSA key of 1024 bits.
const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDHMtRYJ0UCQNBvste+cx8si0YvNgoqqknNeq9XTARUq9xlT+XJhelLDyeq0dzU\
zQ+qiePen6jJXVpmwuWKGzGxh1C9odQsccSCoi7n1KV6KDjOIrZuhEVGle7Y8b1TS9tdSK02NbAQsH1+vYZAi1QoShM7kRehtGoXEZ+e1clFBQIDAQAB";

/// The refusal of a good token with one header member changed.
fn header_refusal(name: &str, value: Option<Value>) -> JwtError {
    judge(&token(&header_with(name, value), &claims())).unwrap_err()
}

/// The refusal of a good token with one claim changed.
fn claim_refusal(name: &str, value: Option<Value>) -> JwtError {
    judge(&token(&header(), &claims_with(name, value))).unwrap_err()
}

/// The refusal of a token from these two texts.
fn text_refusal(header: &str, claims: &str) -> JwtError {
    judge(&token_of(header, claims, &KEYS.p256, JwtAlgorithm::Es256)).unwrap_err()
}

fn good() -> String {
    token(&header(), &claims())
}

fn unsupported(alg: &str) -> JwtError {
    JwtError::AlgorithmUnsupported { alg: alg.to_owned() }
}

/// Threat 25
#[test]
fn algorithms_that_no_jwt_svid_has() {
    for alg in
        ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "EdDSA", "Ed25519", "ES256K", "es256", "ES256 "]
    {
        assert_eq!(header_refusal("alg", Some(alg.into())), unsupported(alg), "{alg:?}");
    }
    for alg in [None, Some(json!(null)), Some(json!(1)), Some(json!(["ES256"]))] {
        assert_eq!(header_refusal("alg", alg), JwtError::AlgorithmMissing);
    }
    // With what the algorithm would call a signature.
    let none = format!(
        "{}.{}.",
        segment(&header_with("alg", Some("none".into())).to_string()),
        segment(&claims().to_string())
    );
    assert_eq!(judge(&none).unwrap_err(), unsupported("none"));
    let eddsa = json!({"alg": "EdDSA", "kid": "ed25519"});
    let eddsa = token_of(&eddsa.to_string(), &claims().to_string(), &KEYS.ed25519, JwtAlgorithm::Es256);
    assert_eq!(judge(&eddsa).unwrap_err(), unsupported("EdDSA"));
}

/// Threat 25
///
/// A public key is no secret: whoever takes it for the key of an HMAC lets everyone sign.
#[test]
fn an_hmac_keyed_with_the_public_key() {
    for key in [&KEYS.rsa, &KEYS.p256] {
        let spki = key.spki();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(&spki));
        for secret in [spki, pem.into_bytes()] {
            let header = json!({"alg": "HS256", "kid": key_id(key)}).to_string();
            let signed = format!("{}.{}", segment(&header), segment(&claims().to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", BASE64_URL.encode(tag));
            assert_eq!(judge(&token).unwrap_err(), unsupported("HS256"));
        }
    }
}

/// Threat 25
///
/// The key decides. Whatever a token claims, it is compared with the type of the authority's key before anything is verified.
#[test]
fn every_algorithm_with_every_key_of_another_type() {
    let mut refused = 0;
    for algorithm in JwtAlgorithm::ALL {
        for key in [&KEYS.p256, &KEYS.p384, &KEYS.p521, &KEYS.rsa, &KEYS.ed25519] {
            if std::ptr::eq(key, key_for(algorithm)) {
                continue;
            }
            let header = json!({"alg": algorithm.as_str(), "kid": key_id(key)}).to_string();
            // Once by the key that the header names, and once by one that the algorithm goes with.
            for signer in [key, key_for(algorithm)] {
                let token = token_of(&header, &claims().to_string(), signer, algorithm);
                let expected = JwtError::AlgorithmOfAnotherKey { key_id: key_id(key).to_owned(), alg: algorithm };
                assert_eq!(judge(&token).unwrap_err(), expected);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 72);
}

/// Threat 25
///
/// One RSA key goes with six algorithms, and a signature by one of them is none by another.
#[test]
fn a_signature_by_another_algorithm_of_the_same_key() {
    let rsa: Vec<_> =
        JwtAlgorithm::ALL.into_iter().filter(|algorithm| std::ptr::eq(key_for(*algorithm), &KEYS.rsa)).collect();
    for claimed in &rsa {
        for signed in &rsa {
            let header = json!({"alg": claimed.as_str(), "kid": "rsa"}).to_string();
            let verdict = judge(&token_of(&header, &claims().to_string(), &KEYS.rsa, *signed));
            match verdict {
                Ok(_) => assert_eq!(claimed, signed),
                Err(error) => {
                    assert_ne!(claimed, signed);
                    assert_eq!(error, JwtError::Signature { key_id: "rsa".to_owned() });
                }
            }
        }
    }
}

/// Threat 25
#[test]
fn a_key_that_the_token_brings_along() {
    let claims = claims().to_string();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"});
    let forged =
        |header: Value| judge(&token_of(&header.to_string(), &claims, &KEYS.p384, JwtAlgorithm::Es384)).unwrap_err();
    assert_eq!(forged(json!({"alg": "ES384", "jwk": jwk})), JwtError::KeyIdMissing);
    let unknown = forged(json!({"alg": "ES384", "kid": "mine", "jwk": jwk, "jku": "https://evil.example"}));
    assert!(matches!(unknown, JwtError::UnknownKey { .. }));
    let known = forged(json!({"alg": "ES256", "kid": "p256", "jwk": jwk}));
    assert_eq!(known, JwtError::SignatureLength { alg: JwtAlgorithm::Es256, expected: 64, got: 96 });
}

/// Threat 25
#[test]
fn without_expiry_or_audience() {
    assert_eq!(claim_refusal("exp", None), JwtError::ExpiryMissing);
    for exp in [json!("1780272300"), json!(null), json!(-1), json!(1e30), json!([NOW + 300]), json!({})] {
        assert_eq!(claim_refusal("exp", Some(exp.clone())), JwtError::ExpiryMalformed, "{exp}");
    }
    for exp in [0, NOW - 3600, NOW - 90, NOW - LEEWAY - 1] {
        assert_eq!(claim_refusal("exp", Some(exp.into())), JwtError::Expired { expires_at: exp, now: NOW });
    }
    assert_eq!(claim_refusal("aud", None), JwtError::AudienceMissing);
    for aud in [json!([]), json!(null), json!(1), json!({}), json!([1]), json!([AUDIENCE, 1]), json!([[AUDIENCE]])] {
        assert_eq!(claim_refusal("aud", Some(aud.clone())), JwtError::AudienceMalformed, "{aud}");
    }
    for aud in ["", "DB.example.org", "db.example.or", "db.example.org.", "db.example.org ", "db.example.org/x", "*"] {
        let expected = JwtError::Audience { audience: vec![aud.to_owned()], expected: AUDIENCE.to_owned() };
        assert_eq!(claim_refusal("aud", Some(aud.into())), expected);
        assert_eq!(claim_refusal("aud", Some(json!([aud]))), expected);
    }
}

#[test]
fn a_validator_without_an_audience_of_its_own() {
    let token = token(&header(), &claims_with("aud", Some(json!(["", AUDIENCE]))));
    assert_eq!(validate(&token, "", &bundle(), at(NOW)).unwrap_err(), JwtError::NoExpectedAudience);
}

#[test]
fn times_that_are_not_yet() {
    for nbf in [NOW + 3600, NOW + LEEWAY + 1, u64::MAX] {
        assert_eq!(claim_refusal("nbf", Some(nbf.into())), JwtError::NotYetValid { not_before: nbf, now: NOW });
    }
    for nbf in [json!("soon"), json!(null), json!(-1.0)] {
        assert_eq!(claim_refusal("nbf", Some(nbf)), JwtError::NotBeforeMalformed);
    }
}

#[test]
fn subjects() {
    for sub in [None, Some(json!(1)), Some(json!(null)), Some(json!(["spiffe://example.org/web"]))] {
        assert_eq!(claim_refusal("sub", sub), JwtError::SubjectMissing);
    }
    for sub in [
        "",
        "web",
        "https://example.org/web",
        "spiffe://example.org/",
        "spiffe://example.org/web/",
        "spiffe://Example.org/web",
        "SPIFFE://example.org/web",
    ] {
        assert!(matches!(claim_refusal("sub", Some(sub.into())), JwtError::Subject(_)), "{sub}");
    }
    let trust_domain = TrustDomain::parse("other.org").unwrap();
    let foreign = claim_refusal("sub", Some("spiffe://other.org/web".into()));
    assert_eq!(foreign, JwtError::UnknownTrustDomain { trust_domain });
}

/// Two domains trust each other; neither's key speaks for the other, with the same `kid` or not.
#[test]
fn an_authority_speaks_for_its_own_domain_only() {
    let mut other = bundle();
    other.trust_domain = TrustDomain::parse("other.org").unwrap();
    other.jwt_authorities = vec![authority("p256", KEYS.p521.spki()), authority("theirs", KEYS.p256.spki())];
    let bundles: std::collections::HashMap<_, _> =
        [bundle(), other].map(|bundle| (bundle.trust_domain.clone(), bundle)).into();
    let verdict = |header: &Value| {
        let token = token(header, &claims_with("sub", Some("spiffe://other.org/web".into())));
        validate(&token, AUDIENCE, &bundles, at(NOW))
    };
    assert!(matches!(verdict(&header()), Err(JwtError::AlgorithmOfAnotherKey { .. })));
    let trust_domain = TrustDomain::parse("other.org").unwrap();
    let ours = verdict(&header_with("kid", Some("p384".into())));
    assert_eq!(ours, Err(JwtError::UnknownKey { trust_domain, key_id: "p384".to_owned() }));
    assert!(verdict(&header_with("kid", Some("theirs".into()))).is_ok());
}

#[test]
fn types_and_key_ids() {
    for typ in [
        json!("jwt"),
        json!("at+jwt"),
        json!("wit+jwt"),
        json!("WIT+JWT"),
        json!(""),
        json!(null),
        json!(1),
        json!("JWT "),
    ] {
        assert_eq!(header_refusal("typ", Some(typ.clone())), JwtError::Type { typ: typ.to_string() });
    }
    for kid in [None, Some(json!("")), Some(json!(null)), Some(json!(1))] {
        assert_eq!(header_refusal("kid", kid), JwtError::KeyIdMissing);
    }
    for kid in ["unknown", "P256", "p256 "] {
        assert!(matches!(header_refusal("kid", Some(kid.into())), JwtError::UnknownKey { .. }));
    }
}

#[test]
fn critical_extensions() {
    for crit in [json!(["exp"]), json!([]), json!(null), json!("b64")] {
        assert_eq!(header_refusal("crit", Some(crit)), JwtError::Critical);
    }
}

#[test]
fn members_that_occur_twice() {
    let twice = |part, name: &str| JwtError::DuplicateMember { part, name: name.to_owned() };
    let header_text = header().to_string();
    for (claims, name) in [
        (
            r#"{"sub":"spiffe://example.org/admin","sub":"spiffe://example.org/web","aud":"db.example.org","exp":1780272300}"#,
            "sub",
        ),
        (r#"{"aud":"other","aud":"db.example.org","sub":"spiffe://example.org/web","exp":1780272300}"#, "aud"),
        (r#"{"exp":1,"\u0065xp":1780272300,"aud":"db.example.org","sub":"spiffe://example.org/web"}"#, "exp"),
        (
            r#"{"a":[1,{"b":{"c":1,"c":1}}],"exp":1780272300,"aud":"db.example.org","sub":"spiffe://example.org/web"}"#,
            "c",
        ),
    ] {
        assert_eq!(text_refusal(&header_text, claims), twice(Part::Claims, name));
    }
    for (header, name) in [
        (r#"{"alg":"none","alg":"ES256","kid":"p256"}"#, "alg"),
        (r#"{"alg":"ES256","kid":"p384","kid":"p256"}"#, "kid"),
        (r#"{"alg":"ES256","kid":"p256","jwk":{"kty":"EC","kty":"RSA"}}"#, "kty"),
    ] {
        assert_eq!(text_refusal(header, &claims().to_string()), twice(Part::Header, name));
    }
}

#[test]
fn what_is_no_json_object() {
    for text in
        ["", "null", "[]", "\"text\"", "{", "{} {}", "{\"a\":}", "{\"a\":1e999}", "{}x", "{'a':1}", "\u{feff}{}"]
    {
        let refused =
            |error, part| assert!(matches!(error, JwtError::Json { part: p, .. } if p == part), "{text}: {error}");
        refused(text_refusal(text, &claims().to_string()), Part::Header);
        refused(text_refusal(&header().to_string(), text), Part::Claims);
    }
    // Not UTF-8, and deeper than any claim.
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(4000), "]".repeat(4000));
    assert!(matches!(text_refusal(&header().to_string(), &deep), JwtError::Json { part: Part::Claims, .. }));
    let latin = format!("{}.{}.AAAA", segment(&header().to_string()), BASE64_URL.encode(b"{\"a\":\"\xe9\"}"));
    assert!(matches!(judge(&latin).unwrap_err(), JwtError::Json { part: Part::Claims, .. }));
}

#[test]
fn segments() {
    let good = good();
    let two = good.rsplit_once('.').unwrap().0;
    for (token, got) in [
        (String::new(), 1),
        ("a".to_owned(), 1),
        (two.to_owned(), 2),
        (format!("{good}."), 4),
        (format!("{good}.AAAA"), 4),
        (format!(".{good}"), 4),
        (".".repeat(4), 5),
        // JSON serialization (RFC 7515, section 7.2).
        (json!({"protected": "AAAA", "payload": "AAAA", "signature": "AAAA"}).to_string(), 1),
    ] {
        assert_eq!(judge(&token).unwrap_err(), JwtError::Segments { got }, "{token}");
    }
}

#[test]
fn base64_that_is_not_exactly_that() {
    let good = good();
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let padded = |segment: &str| BASE64_URL_SAFE.encode(BASE64_URL.decode(segment).unwrap());
    let spaced = |segment: &str| format!("{}\n{}", &segment[..4], &segment[4..]);
    // The claims get a byte more where they would need no padding.
    let odd = segment(&format!("{}{}", self::claims(), " ".repeat((3 - self::claims().to_string().len() % 3) % 3 + 1)));
    // The last character of a 64-byte signature carries four bits that mean nothing.
    let last = |letter| format!("{}{letter}", &signature[..signature.len() - 1]);
    let loose = ["B", "h", "R", "x"].map(last);
    let mut refused = vec![
        (
            format!("{}.{claims}.{signature}", padded(header) + if padded(header).ends_with('=') { "" } else { "=" }),
            Part::Header,
        ),
        (format!("{}.{claims}.{signature}", spaced(header)), Part::Header),
        (format!(" {good}"), Part::Header),
        (format!("\u{feff}{good}"), Part::Header),
        (format!("{header}.{}.{signature}", padded(&odd)), Part::Claims),
        (format!("{header}.{}.{signature}", spaced(claims)), Part::Claims),
        (format!("{header}.{claims}.{}", padded(signature)), Part::Signature),
        (format!("{header}.{claims}.{}", spaced(signature)), Part::Signature),
        (format!("{good}\n"), Part::Signature),
        (format!("{good}\r\n"), Part::Signature),
        (format!("{good} "), Part::Signature),
        (format!("{good}\0"), Part::Signature),
        (format!("{header}.{claims}.+/{}", &signature[2..]), Part::Signature),
    ];
    refused.extend(loose.map(|signature| (format!("{header}.{claims}.{signature}"), Part::Signature)));
    for (token, part) in refused {
        assert_eq!(judge(&token).unwrap_err(), JwtError::Base64 { part }, "{token:?}");
    }
}

#[test]
fn signatures_of_another_form() {
    let good = good();
    let signed = good.rsplit_once('.').unwrap().0;
    let with = |signature: &[u8]| judge(&format!("{signed}.{}", BASE64_URL.encode(signature))).unwrap_err();
    let length = |got| JwtError::SignatureLength { alg: JwtAlgorithm::Es256, expected: 64, got };
    let der = KEYS.p256.sign_as_a_store(JwtAlgorithm::Es256, signed.as_bytes());
    assert_eq!(with(&der), length(der.len()));
    assert_eq!(with(&[]), length(0));
    let real = KEYS.p256.sign(JwtAlgorithm::Es256, signed.as_bytes());
    assert_eq!(with(&[real.as_slice(), &[0]].concat()), length(65));
    assert_eq!(with(&real[..63]), length(63));
    let wrong = JwtError::Signature { key_id: "p256".to_owned() };
    // r = s = 0 is a signature of every message to a verifier that forgets to look (CVE-2022-21449).
    assert_eq!(with(&[0; 64]), wrong);
    for byte in 0..64 {
        let mut changed = real.clone();
        changed[byte] ^= 1;
        assert_eq!(with(&changed), wrong);
    }
    let rsa = |signature: &[u8]| {
        let signed = format!("{}.{}", segment(r#"{"alg":"RS256","kid":"rsa"}"#), segment(&claims().to_string()));
        judge(&format!("{signed}.{}", BASE64_URL.encode(signature))).unwrap_err()
    };
    for signature in [vec![], vec![0; 256], vec![1; 255], vec![1; 257]] {
        assert_eq!(rsa(&signature), JwtError::Signature { key_id: "rsa".to_owned() });
    }
}

#[test]
fn bytes_that_changed_after_signing() {
    let good = good();
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    // The same members in another order mean the same and are not what was signed.
    let reordered = segment(r#"{"typ":"JWT","kid":"p256","alg":"ES256"}"#);
    let longer = segment(&claims_with("exp", Some((NOW + 301).into())).to_string());
    for token in [format!("{reordered}.{claims}.{signature}"), format!("{header}.{longer}.{signature}")] {
        assert_eq!(judge(&token).unwrap_err(), JwtError::Signature { key_id: "p256".to_owned() });
    }
}

#[test]
fn the_length_is_bounded_before_anything_is_read() {
    let long = |len: usize| UnverifiedJwt::parse(&"a".repeat(len)).unwrap_err();
    assert_eq!(long(MAX_TOKEN_LEN), JwtError::Segments { got: 1 });
    assert_eq!(long(MAX_TOKEN_LEN + 1), JwtError::TooLarge { len: MAX_TOKEN_LEN + 1 });
}

/// Every refusal there is, from a token that is good but for one thing. A new check breaks the build here.
#[test]
fn each_refusal_has_a_tampered_token() {
    let name = |error: &JwtError| match error {
        JwtError::NoExpectedAudience => "no expected audience",
        JwtError::TooLarge { .. } => "too large",
        JwtError::Segments { .. } => "segments",
        JwtError::Base64 { .. } => "base64",
        JwtError::Json { .. } => "JSON",
        JwtError::DuplicateMember { .. } => "duplicate member",
        JwtError::Critical => "critical",
        JwtError::AlgorithmMissing => "algorithm missing",
        JwtError::AlgorithmUnsupported { .. } => "algorithm unsupported",
        JwtError::Type { .. } => "type",
        JwtError::KeyIdMissing => "key ID missing",
        JwtError::SubjectMissing => "subject missing",
        JwtError::Subject(_) => "subject",
        JwtError::AudienceMissing => "audience missing",
        JwtError::AudienceMalformed => "audience malformed",
        JwtError::ExpiryMissing => "expiry missing",
        JwtError::ExpiryMalformed => "expiry malformed",
        JwtError::NotBeforeMalformed => "not-before malformed",
        JwtError::UnknownTrustDomain { .. } => "unknown trust domain",
        JwtError::UnknownKey { .. } => "unknown key",
        JwtError::AuthorityExpired { .. } => "authority expired",
        JwtError::Key(_) => "key",
        JwtError::AlgorithmOfAnotherKey { .. } => "algorithm of another key",
        JwtError::SignatureLength { .. } => "signature length",
        JwtError::Signature { .. } => "signature",
        JwtError::Expired { .. } => "expired",
        JwtError::NotYetValid { .. } => "not yet valid",
        JwtError::Audience { .. } => "audience",
    };
    const CHECKS: usize = 28;
    let mut ended = bundle();
    ended.jwt_authorities[0].expires_at = (NOW - LEEWAY - 1).try_into().unwrap();
    let mut weak = bundle();
    weak.jwt_authorities = vec![authority("p256", BASE64_STANDARD.decode(RSA_1024).unwrap())];
    let weakened = header_with("alg", Some("RS256".into()));
    let refusals = [
        validate(&good(), "", &bundle(), at(NOW)).unwrap_err(),
        claim_refusal("a", Some("a".repeat(MAX_TOKEN_LEN).into())),
        judge(&format!("{}.", good())).unwrap_err(),
        judge(&format!("{}=", good())).unwrap_err(),
        text_refusal("{", "{}"),
        text_refusal(r#"{"a":1,"a":1}"#, "{}"),
        header_refusal("crit", Some(json!(["x"]))),
        header_refusal("alg", None),
        header_refusal("alg", Some("none".into())),
        header_refusal("typ", Some("wit+jwt".into())),
        header_refusal("kid", None),
        claim_refusal("sub", None),
        claim_refusal("sub", Some("web".into())),
        claim_refusal("aud", None),
        claim_refusal("aud", Some(json!([]))),
        claim_refusal("exp", None),
        claim_refusal("exp", Some("soon".into())),
        claim_refusal("nbf", Some("soon".into())),
        claim_refusal("sub", Some("spiffe://other.org/web".into())),
        header_refusal("kid", Some("unknown".into())),
        validate(&good(), AUDIENCE, &ended, at(NOW)).unwrap_err(),
        validate(&token(&weakened, &claims()), AUDIENCE, &weak, at(NOW)).unwrap_err(),
        header_refusal("alg", Some("ES384".into())),
        judge(&format!("{}.", good().rsplit_once('.').unwrap().0)).unwrap_err(),
        judge(&token_of(&header().to_string(), &claims().to_string(), &OTHER, JwtAlgorithm::Es256)).unwrap_err(),
        claim_refusal("exp", Some(1.into())),
        claim_refusal("nbf", Some((NOW + 3600).into())),
        claim_refusal("aud", Some("other".into())),
    ];
    assert_eq!(refusals[12], JwtError::Subject(SpiffeIdError::Scheme));
    assert_eq!(refusals[21], JwtError::Key(KeyError::RsaModulus { bits: 1024 }));
    let names: BTreeSet<_> = refusals.iter().map(name).collect();
    assert_eq!(names.len(), CHECKS, "{names:?}");
    // What a person reads of a refusal holds nothing raw from a stranger.
    for error in &refusals {
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
    }
}

/// A P-256 key that no one trusts.
static OTHER: std::sync::LazyLock<crate::fixture::Key> = std::sync::LazyLock::new(crate::fixture::new_p256);
