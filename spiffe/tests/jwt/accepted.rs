//! Tokens that validators have to accept.

use plastron_spiffe::jwt::{JwtAlgorithm, LEEWAY, UnverifiedJwt, validate};
use serde_json::{Value, json};

use crate::fixture::{
    AUDIENCE, KEYS, NOW, WEB, at, bundle, claims, claims_with, header, header_with, judge, key_for, key_id, token,
    token_of,
};

#[test]
fn every_algorithm_of_the_standard_by_its_own_key() {
    for algorithm in JwtAlgorithm::ALL {
        let key = key_for(algorithm);
        let header = json!({"alg": algorithm.as_str(), "kid": key_id(key), "typ": "JWT"});
        let token = token_of(&header.to_string(), &claims().to_string(), key, algorithm);
        let svid = judge(&token).unwrap();
        assert_eq!(svid.id().as_str(), WEB, "{algorithm:?}");
        assert_eq!(svid.key_id(), key_id(key));
        assert_eq!(svid.audience(), [AUDIENCE]);
        assert_eq!(svid.expires_at(), NOW + 300);
    }
}

#[test]
fn what_the_standard_leaves_open() {
    let good = |name: &str, value: Value| (name.to_owned(), token(&header(), &claims_with(name, Some(value))));
    for (name, token) in [
        ("plain".to_owned(), token(&header(), &claims())),
        ("typ absent".to_owned(), token(&header_with("typ", None), &claims())),
        ("typ JOSE".to_owned(), token(&header_with("typ", Some("JOSE".into())), &claims())),
        ("no iat".to_owned(), token(&header(), &claims_with("iat", None))),
        good("aud", json!(AUDIENCE)),
        good("aud", json!(["other", AUDIENCE, ""])),
        good("exp", json!(NOW + 10_000_000)),
        good("exp", json!(u64::MAX)),
        good("exp", json!(NOW as f64 + 300.5)),
        good("exp", json!(NOW - 30)),
        good("exp", json!(NOW - LEEWAY)),
        good("nbf", json!(NOW)),
        good("nbf", json!(NOW + LEEWAY)),
        good("iat", json!(NOW + 3600)),
        good("iat", json!("yesterday")),
        good("sub", json!("spiffe://example.org")),
        good("scope", json!({"nested": [1, {"a": null}], "flag": true})),
    ] {
        judge(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A header that names keys of its own is read past them (RFC 7515, section 4): only the bundle's keys count.
#[test]
fn unknown_header_members_are_ignored_and_never_used() {
    for (name, value) in [
        ("cty", json!("JWT")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
    ] {
        judge(&token(&header_with(name, Some(value)), &claims())).unwrap();
    }
}

#[test]
fn the_audience_is_always_a_list_and_the_other_claims_stay() {
    let mut claims = claims_with("aud", Some(json!(AUDIENCE)));
    claims["groups"] = json!(["a", {"b": 1.5}]);
    let svid = judge(&token(&header(), &claims)).unwrap();
    claims["aud"] = json!([AUDIENCE]);
    assert_eq!(Value::Object(svid.claims().clone()), claims);
}

#[test]
fn a_fraction_of_a_second_counts() {
    let token = token(&header(), &claims_with("nbf", Some(json!((NOW + LEEWAY) as f64 + 0.5))));
    assert!(judge(&token).is_err());
    assert!(validate(&token, AUDIENCE, &bundle(), at(NOW + 1)).is_ok());
}

/// Tainting starts the replacement of what an authority signed; revoking it is what ends its tokens.
#[test]
fn a_tainted_authority_still_validates() {
    let mut bundle = bundle();
    bundle.jwt_authorities[0].tainted = true;
    assert!(validate(&token(&header(), &claims()), AUDIENCE, &bundle, at(NOW)).is_ok());
}

#[test]
fn an_authority_serves_until_its_end() {
    let mut bundle = bundle();
    for end in [NOW - LEEWAY, NOW, NOW + 1000] {
        bundle.jwt_authorities[0].expires_at = end.try_into().unwrap();
        assert!(validate(&token(&header(), &claims()), AUDIENCE, &bundle, at(NOW)).is_ok());
    }
}

#[test]
fn a_token_can_be_read_without_being_believed() {
    let mut claims = claims_with("jti", Some("one".into()));
    claims["iat"] = json!(NOW - 5);
    // Signed by a key that the header does not name.
    let token = token_of(
        &header_with("kid", Some("another".into())).to_string(),
        &claims.to_string(),
        &KEYS.p256,
        JwtAlgorithm::Es256,
    );
    let read = UnverifiedJwt::parse(&token).unwrap();
    assert_eq!(read.claimed_id().as_str(), WEB);
    assert_eq!(read.claimed_audience(), [AUDIENCE]);
    assert_eq!(read.claimed_expires_at(), NOW + 300);
    assert_eq!(read.claimed_issued_at(), Some(NOW - 5));
    assert_eq!(read.claimed_jti(), Some("one"));
    assert_eq!(read.claimed_key_id(), "another");
}
