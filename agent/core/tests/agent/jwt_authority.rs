//! A JWT authority in memory, for the server in memory: it signs real tokens and can be told to sign others than asked for.

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use plastron_agent_core::upstream::{AuthorizedEntry, JwtSvidReply, UpstreamError};
use plastron_spiffe::JwtAuthority;
use plastron_spiffe::jwt::{JwtAlgorithm, JwtSvidTemplate};

/// What the server does about JWT-SVIDs.
pub(crate) struct JwtState {
    pub(crate) key: SigningKey,
    pub(crate) ttl: u64,
    /// Entry and audience of each call that came.
    pub(crate) calls: Vec<(String, Vec<String>)>,
    pub(crate) issued: usize,
    /// What the next calls are answered with before tokens are issued again.
    pub(crate) failures: VecDeque<UpstreamError>,
    /// How long a call takes.
    pub(crate) delay: Duration,
    /// Changes each reply.
    pub(crate) spoil: Option<fn(&mut JwtSvidReply)>,
    /// Whether tokens of entries that demand a `jti` get one.
    pub(crate) with_jti: bool,
}

impl JwtState {
    pub(crate) fn new() -> Self {
        Self {
            key: SigningKey::new("first"),
            ttl: 300,
            calls: Vec::new(),
            issued: 0,
            failures: VecDeque::new(),
            delay: Duration::ZERO,
            spoil: None,
            with_jti: true,
        }
    }

    pub(crate) fn issue(&mut self, entry: &AuthorizedEntry, audience: &[String], now: u64) -> JwtSvidReply {
        self.issued += 1;
        let jti = (entry.jwt_svid_include_jti && self.with_jti).then(|| format!("jti-{}", self.issued));
        let mut reply = JwtSvidReply {
            token: self.key.sign(entry.spiffe_id.as_str(), audience, now, now + self.ttl, jti.as_deref()),
            spiffe_id: entry.spiffe_id.clone(),
            issued_at: now,
            expires_at: now + self.ttl,
        };
        if let Some(spoil) = self.spoil {
            spoil(&mut reply);
        }
        reply
    }
}

pub(crate) struct SigningKey {
    pub(crate) key_id: String,
    key: EcdsaKeyPair,
}

impl SigningKey {
    pub(crate) fn new(key_id: &str) -> Self {
        Self { key_id: key_id.to_owned(), key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap() }
    }

    pub(crate) fn authority(&self) -> JwtAuthority {
        let public_key: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        JwtAuthority {
            key_id: self.key_id.clone(),
            public_key: public_key.as_ref().to_vec(),
            expires_at: 0,
            tainted: false,
        }
    }

    pub(crate) fn sign(&self, id: &str, audience: &[String], from: u64, until: u64, jti: Option<&str>) -> String {
        let spiffe_id = plastron_spiffe::SpiffeId::parse(id).unwrap();
        let template =
            JwtSvidTemplate { spiffe_id: &spiffe_id, audience, issuer: None, issued_at: from, expires_at: until, jti };
        let unsigned = template.to_unsigned(JwtAlgorithm::Es256, &self.key_id).unwrap();
        let signature = self.key.sign(&SystemRandom::new(), unsigned.as_bytes()).unwrap();
        unsigned.assemble(signature.as_ref()).unwrap()
    }
}
