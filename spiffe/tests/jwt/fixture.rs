//! Keys of every type, and tokens of every kind: those that no issuer makes, too.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use plastron_spiffe::jwt::{JwtAlgorithm, JwtError, JwtSvid, validate};
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};

/// 2026-06-01.
pub(crate) const NOW: u64 = 1_780_272_000;
pub(crate) const WEB: &str = "spiffe://example.org/web";
pub(crate) const AUDIENCE: &str = "db.example.org";

pub(crate) enum Key {
    /// Signatures as r and s, and as DER.
    Ec(EcdsaKeyPair, EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn ec(fixed: &'static EcdsaSigningAlgorithm, asn1: &'static EcdsaSigningAlgorithm) -> Key {
    let pair = EcdsaKeyPair::generate(fixed).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    Key::Ec(pair, EcdsaKeyPair::from_pkcs8(asn1, pkcs8.as_ref()).unwrap())
}

pub(crate) fn new_p256() -> Key {
    ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_ASN1_SIGNING)
}

/// One key of each type; making RSA keys takes a second.
pub(crate) struct Keys {
    pub(crate) p256: Key,
    pub(crate) p384: Key,
    pub(crate) p521: Key,
    pub(crate) rsa: Key,
    pub(crate) ed25519: Key,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    p256: new_p256(),
    p384: ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
    p521: ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, &signature::ECDSA_P521_SHA512_ASN1_SIGNING),
    rsa: Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
    ed25519: Key::Ed25519(Ed25519KeyPair::generate().unwrap()),
});

impl Key {
    pub(crate) fn spki(&self) -> Vec<u8> {
        fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
            key.as_der().unwrap().as_ref().to_vec()
        }
        match self {
            Self::Ec(pair, _) => der(pair.public_key()),
            Self::Rsa(pair) => der(pair.public_key()),
            Self::Ed25519(pair) => der(pair.public_key()),
        }
    }

    /// The signature that stands in a token.
    pub(crate) fn sign(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    JwtAlgorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    JwtAlgorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    JwtAlgorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    JwtAlgorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    JwtAlgorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The signature as a key store returns it: DER for ECDSA.
    pub(crate) fn sign_as_a_store(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(_, pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            _ => self.sign(algorithm, message),
        }
    }

    /// The algorithm that goes with the key, for those tests to which it does not matter.
    pub(crate) fn algorithm(&self) -> JwtAlgorithm {
        let is = |key: &Key| std::ptr::eq(self, key);
        if is(&KEYS.p384) {
            JwtAlgorithm::Es384
        } else if is(&KEYS.p521) {
            JwtAlgorithm::Es512
        } else if is(&KEYS.rsa) {
            JwtAlgorithm::Rs256
        } else {
            JwtAlgorithm::Es256
        }
    }
}

/// The key that goes with an algorithm.
pub(crate) fn key_for(algorithm: JwtAlgorithm) -> &'static Key {
    match algorithm {
        JwtAlgorithm::Es256 => &KEYS.p256,
        JwtAlgorithm::Es384 => &KEYS.p384,
        JwtAlgorithm::Es512 => &KEYS.p521,
        _ => &KEYS.rsa,
    }
}

pub(crate) fn authority(key_id: &str, public_key: Vec<u8>) -> JwtAuthority {
    JwtAuthority { key_id: key_id.to_owned(), public_key, expires_at: 0, tainted: false }
}

/// example.org, which trusts one key of each type.
pub(crate) fn bundle() -> Bundle {
    let mut bundle = Bundle::empty(TrustDomain::parse("example.org").unwrap());
    let Keys { p256, p384, p521, rsa, ed25519 } = &*KEYS;
    bundle.jwt_authorities = [("p256", p256), ("p384", p384), ("p521", p521), ("rsa", rsa), ("ed25519", ed25519)]
        .map(|(key_id, key)| authority(key_id, key.spki()))
        .to_vec();
    bundle
}

pub(crate) fn key_id(key: &Key) -> &'static str {
    let Keys { p256, p384, p521, rsa, ed25519 } = &*KEYS;
    [("p256", p256), ("p384", p384), ("p521", p521), ("rsa", rsa), ("ed25519", ed25519)]
        .into_iter()
        .find(|(_, known)| std::ptr::eq(*known, key))
        .unwrap()
        .0
}

pub(crate) fn claims() -> Value {
    json!({"sub": WEB, "aud": [AUDIENCE], "exp": NOW + 300, "iat": NOW})
}

/// The claims with one of them set, or taken away.
pub(crate) fn claims_with(name: &str, value: Option<Value>) -> Value {
    changed(claims(), name, value)
}

pub(crate) fn header() -> Value {
    json!({"alg": "ES256", "kid": "p256", "typ": "JWT"})
}

pub(crate) fn header_with(name: &str, value: Option<Value>) -> Value {
    changed(header(), name, value)
}

fn changed(mut object: Value, name: &str, value: Option<Value>) -> Value {
    let members = object.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    object
}

pub(crate) fn segment(text: &str) -> String {
    BASE64_URL.encode(text)
}

/// A token from the two texts, signed by `key` as it signs.
pub(crate) fn token_of(header: &str, claims: &str, key: &Key, algorithm: JwtAlgorithm) -> String {
    let signed = format!("{}.{}", segment(header), segment(claims));
    let signature = key.sign(algorithm, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL.encode(signature))
}

/// A token by the P-256 key.
pub(crate) fn token(header: &Value, claims: &Value) -> String {
    token_of(&header.to_string(), &claims.to_string(), &KEYS.p256, JwtAlgorithm::Es256)
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(crate) fn judge(token: &str) -> Result<JwtSvid, JwtError> {
    validate(token, AUDIENCE, &bundle(), at(NOW))
}
