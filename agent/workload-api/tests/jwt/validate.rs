//! ValidateJWTSVID: what is valid for whom, what of it is shown, and the reason for which each bad token is refused.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use plastron_spiffe::JwtAuthority;
use prost_types::value::Kind;
use serde_json::{Value, json};

use super::*;
use crate::jwt_authority::SigningKey;

/// A key of any kind, and what it signs with.
enum AnyKey {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl AnyKey {
    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap())
    }

    fn authority(&self, key_id: &str) -> JwtAuthority {
        let public_key: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key, _) => key.public_key().as_der().unwrap(),
        };
        JwtAuthority {
            key_id: key_id.to_owned(),
            public_key: public_key.as_ref().to_vec(),
            expires_at: 0,
            tainted: false,
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let segment = |value: &Value| BASE64_URL.encode(value.to_string());
        let signed = format!("{}.{}", segment(header), segment(claims));
        let signature = match self {
            Self::Ecdsa(key) => key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64_URL.encode(signature))
    }
}

/// A world whose own bundle also has this key, as `test`.
async fn world(options: Options, entries: &[(&str, &str, &str, i64)], key: &AnyKey) -> World {
    let world = World::start(options, entries).await;
    {
        let mut state = world.server.state();
        state.bundle.jwt_authorities.push(key.authority("test"));
        state.bundle.sequence_number += 1;
    }
    world.synchronised(|held, _| held.bundle.jwt_authorities.len() == 2).await;
    world
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "test", "typ": "JWT"})
}

fn claims(world: &World) -> Value {
    let now = world.clock.seconds();
    json!({"sub": "spiffe://example.org/web", "aud": ["x", "y"], "exp": now + 300, "iat": now, "iss": "https://issuer"})
}

#[tokio::test]
async fn a_fetched_token_is_valid_for_its_audience_and_for_no_other() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let mut client = world.client().await;
    let token = client.tokens(&["x"], "").await.unwrap().remove(0).svid;
    let valid = client.validate("x", &token).await.unwrap();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/web");
    refused(
        client.validate("y", &token).await,
        Code::InvalidArgument,
        r#"expected audience in ["y"] (audience=["x"])"#,
    );
    world.clock.jump(Duration::from_secs(360));
    client.validate("x", &token).await.unwrap();
    world.clock.jump(Duration::from_secs(2));
    refused(client.validate("x", &token).await, Code::InvalidArgument, "token has expired");
}

#[tokio::test]
async fn all_nine_algorithms_validate() {
    let rsa = |encoding| AnyKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), encoding);
    let keys: [(&str, AnyKey); 9] = [
        ("ES256", AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        ("ES384", AnyKey::ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("ES512", AnyKey::ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING)),
        ("RS256", rsa(&RSA_PKCS1_SHA256)),
        ("RS384", rsa(&RSA_PKCS1_SHA384)),
        ("RS512", rsa(&RSA_PKCS1_SHA512)),
        ("PS256", rsa(&RSA_PSS_SHA256)),
        ("PS384", rsa(&RSA_PSS_SHA384)),
        ("PS512", rsa(&RSA_PSS_SHA512)),
    ];
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let authorities = keys.iter().map(|(alg, key)| key.authority(alg));
    world.server.state().bundle.jwt_authorities.extend(authorities);
    world.synchronised(|held, _| held.bundle.jwt_authorities.len() == 10).await;
    let mut client = world.client().await;
    for (alg, key) in &keys {
        let token = key.sign(&json!({"alg": alg, "kid": alg}), &claims(&world));
        client.validate("x", &token).await.unwrap_or_else(|status| panic!("{alg}: {status}"));
    }
}

#[tokio::test]
async fn claims_are_shown_as_they_were_signed_and_the_audience_always_as_a_list() {
    let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let world = world(USUAL, &[("a", "/web", "", 1)], &key).await;
    let mut claims = claims(&world);
    claims["aud"] = json!("x");
    claims["n"] = json!(9_007_199_254_740_991_u64);
    claims["deep"] = json!({"list": [1, {"a": null}]});
    let token = key.sign(&header(), &claims);
    let shown = world.client().await.validate("x", &token).await.unwrap().claims.unwrap();
    let json = plastron_proto::json::to_json(&wire::ValidateJwtsvidResponse {
        spiffe_id: String::new(),
        claims: Some(shown.clone()),
    })
    .unwrap();
    let Some(Kind::NumberValue(exp)) = shown.fields["exp"].kind else { panic!("{shown:?}") };
    assert_eq!(exp, claims["exp"].as_f64().unwrap());
    assert_eq!(shown.fields["n"].kind, Some(Kind::NumberValue(9_007_199_254_740_991.0)));
    assert_eq!(json["claims"]["aud"], json!(["x"]));
    assert_eq!(json["claims"]["iss"], "https://issuer");
    assert_eq!(json["claims"]["deep"]["list"][1], json!({"a": null}));
}

#[tokio::test]
async fn of_a_foreign_token_only_what_is_allowed_is_shown() {
    for (allowed, expected) in
        [(&[][..], &["aud", "exp", "sub"][..]), (&["iss", "absent"], &["aud", "exp", "iss", "sub"])]
    {
        let world = World::start(Options { foreign_claims: allowed, ..USUAL }, &[("a", "/web", "", 1)]).await;
        let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let mut foreign = Bundle::empty(other_domain());
        foreign.jwt_authorities.push(key.authority("test"));
        world.federate(foreign).await;
        let mut claims = claims(&world);
        claims["sub"] = json!("spiffe://other.test/web");
        let token = key.sign(&header(), &claims);
        let valid = world.client().await.validate("x", &token).await.unwrap();
        assert_eq!(valid.spiffe_id, "spiffe://other.test/web");
        let shown = valid.claims.unwrap();
        assert_eq!(shown.fields.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}

/// Threat: a foreign domain's keys vouch for its own members only, and only for workloads that federate with it.
#[tokio::test]
async fn keys_count_for_their_own_domain_only() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let mut foreign = Bundle::empty(other_domain());
    foreign.jwt_authorities.push(key.authority("test"));
    world.federate(foreign).await;
    let mut client = world.client().await;
    let forged = key.sign(&header(), &claims(&world));
    let message = r#"public key "test" not found in trust domain "example.org""#;
    refused(client.validate("x", &forged).await, Code::InvalidArgument, message);

    let mut claims = claims(&world);
    claims["sub"] = json!("spiffe://third.test/web");
    let forged = key.sign(&header(), &claims);
    let message = r#"no keys found for trust domain "third.test""#;
    refused(client.validate("x", &forged).await, Code::InvalidArgument, message);

    claims["sub"] = json!("spiffe://other.test/web");
    let token = key.sign(&header(), &claims);
    client.validate("x", &token).await.unwrap();
    world.server.state().entries.get_mut("a").unwrap().federates_with.clear();
    world.server.state().entries.get_mut("a").unwrap().revision += 1;
    world.synchronised(|held, _| held.federated_bundles.is_empty()).await;
    let message = r#"no keys found for trust domain "other.test""#;
    refused(client.validate("x", &token).await, Code::InvalidArgument, message);
}

#[tokio::test]
async fn without_an_identity_tokens_of_the_own_domain_validate() {
    let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let world = world(USUAL, &[], &key).await;
    let token = key.sign(&header(), &claims(&world));
    world.client().await.validate("x", &token).await.unwrap();
}

/// Threat 25: each row is one thing that is wrong with a token that is otherwise good.
#[tokio::test]
async fn a_bad_token_is_refused_with_its_reason() {
    let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let world = world(USUAL, &[("a", "/web", "", 1)], &key).await;
    let mut client = world.client().await;
    let (good_header, good_claims) = (header(), claims(&world));
    let good = key.sign(&good_header, &good_claims);
    client.validate("x", &good).await.unwrap();
    let now = world.clock.seconds();

    let mut cases: Vec<(String, String, String)> = Vec::new();
    let mut case = |name: &str, token: String, reason: &str| cases.push((name.to_owned(), token, reason.to_owned()));
    let with = |member: &str, value: Value| {
        let mut claims = good_claims.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(member)),
            value => claims[member] = value,
        }
        key.sign(&good_header, &claims)
    };
    case("no exp", with("exp", Value::Null), "token missing exp claim");
    case("exp a text", with("exp", json!("soon")), "the token's expiry is not a time");
    case("expired", with("exp", json!(now - 61)), "token has expired");
    case("exp 0", with("exp", json!(0)), "token has expired");
    case("not yet valid", with("nbf", json!(now + 3600)), "token is not valid before");
    case("no sub", with("sub", Value::Null), "token missing subject claim");
    case("sub a number", with("sub", json!(1)), "token missing subject claim");
    case("sub no ID", with("sub", json!("web")), "the token's subject is not a SPIFFE ID: ");
    case("foreign sub", with("sub", json!("spiffe://other.test/web")), "no keys found for trust domain \"other.test\"");
    case("no aud", with("aud", Value::Null), "the token has no audience");
    case("aud empty", with("aud", json!([])), "the token's audience is not");
    case("aud a number", with("aud", json!(1)), "the token's audience is not");
    case("other aud", with("aud", json!(["X"])), "expected audience in [\"x\"] (audience=[\"X\"])");
    case("prefix of aud", with("aud", json!(["xx"])), "expected audience in [\"x\"] (audience=[\"xx\"])");

    let headed = |header: Value| key.sign(&header, &good_claims);
    for alg in ["none", "None", "HS256", "EdDSA", "ES256K", "es256"] {
        let reason = format!("no JWT-SVID is signed with \"{alg}\"");
        case(alg, headed(json!({"alg": alg, "kid": "test"})), &reason);
    }
    case("no alg", headed(json!({"kid": "test"})), "the token names no algorithm");
    case("another key's alg", headed(json!({"alg": "RS256", "kid": "test"})), "the JWT authority ");
    case("another curve's alg", headed(json!({"alg": "ES384", "kid": "test"})), "the JWT authority ");
    case("no kid", headed(json!({"alg": "ES256"})), "token header missing key id");
    let unknown = "public key \"nobody\" not found in trust domain \"example.org\"";
    case("unknown kid", headed(json!({"alg": "ES256", "kid": "nobody"})), unknown);
    for typ in ["jwt", "at+jwt", "wit+jwt", ""] {
        case(typ, headed(json!({"alg": "ES256", "kid": "test", "typ": typ})), "the token's type is ");
    }
    let critical = json!({"alg": "ES256", "kid": "test", "crit": ["b64"], "b64": true});
    case("crit", headed(critical), "the token's header names critical extensions");

    let stranger = SigningKey::new("test");
    let audience = ["x".to_owned()];
    let by_another = stranger.sign("spiffe://example.org/web", &audience, now, now + 300, None);
    case("another key", by_another, "the token's signature is not by the JWT authority ");
    let unsigned = good.rsplit_once('.').unwrap().0;
    case("no signature", format!("{unsigned}."), "a signature of 0 bytes");
    case("two segments", unsigned.to_owned(), "token has 2 segments instead of 3");
    case("four segments", format!("{good}.x"), "token has 4 segments instead of 3");
    case("a line break", format!("{good}\n"), "the token's signature is not base64url");
    case("a space", format!(" {good}"), "the token's header is not base64url");
    case("JSON", json!({"payload": "x", "signatures": []}).to_string(), "token has 1 segments instead of 3");
    case("text", "token".to_owned(), "token has 1 segments instead of 3");

    for (name, token, reason) in cases {
        let status = client.validate("x", &token).await.expect_err(&name);
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
        assert!(status.message().starts_with(&reason), "{name}: {:?}", status.message());
    }
    for (audience, token, reason) in [
        ("", good.as_str(), "audience must be specified"),
        ("x", "", "svid must be specified"),
        ("", "", "audience must be specified"),
    ] {
        refused(client.validate(audience, token).await, Code::InvalidArgument, reason);
    }
}

/// Threat 30: whoever wrote a token does not choose how long the answer is. A status travels in a header list, clients take 8 to 16 KiB of
/// it, and one that is longer breaks the call: the service that had the token validated would think that its agent is broken.
#[tokio::test]
async fn the_reason_for_which_a_token_is_refused_is_short_whatever_the_token_says() {
    let key = AnyKey::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let world = world(USUAL, &[("a", "/web", "", 1)], &key).await;
    let mut client = world.client().await;
    let long = "\u{80}".repeat(2600);
    let claims = claims(&world);
    let with = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        key.sign(&header(), &claims)
    };
    for (name, token) in [
        ("kid", key.sign(&json!({"alg": "ES256", "kid": long}), &claims)),
        ("alg", key.sign(&json!({"alg": long, "kid": "test"}), &claims)),
        ("typ", key.sign(&json!({"alg": "ES256", "kid": "test", "typ": long}), &claims)),
        ("aud", with("aud", json!([long]))),
        ("sub", with("sub", json!(format!("spiffe://example.org/{long}")))),
    ] {
        let status = client.validate("x", &token).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
        assert!(status.message().len() <= 1024, "{name}: {}", status.message().len());
    }
    let status = client.tokens(&["x"], &format!("spiffe://example.org/{long}")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().len() <= 1024, "{}", status.message().len());
}
