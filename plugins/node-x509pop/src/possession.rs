//! Proof of possession: the leaf's key signed the server's nonce and the node's.
//!
//! Both nonces have 32 octets, so that what is signed can't be cut in two ways. RSA: RSASSA-PSS with SHA-256 (RFC 8017, section 8.1)
//! and a salt of any length, since SPIRE's agents take the longest that fits and ours one as long as the hash; aws-lc-rs verifies the
//! latter alone, hence the crate `rsa`. Elliptic curves: ECDSA with SHA-256, whatever the curve.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::UintRef;
use der::{Encode as _, Sequence};
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::pss::{Signature, VerifyingKey};
use rsa::signature::Verifier as _;
use sha2::Sha256;
use spki::ObjectIdentifier;
use spki::der::asn1::AnyRef;

use crate::chain::LeafKey;
use crate::message::{Challenge, EcdsaResponse, Nonce, Octets, Response, RsaResponse};

/// Length of each nonce in octets.
pub(crate) const NONCE_LEN: usize = 32;

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The kinds of key that can be challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
}

impl KeyKind {
    /// Of a SubjectPublicKeyInfo's algorithm.
    pub(crate) fn of(algorithm: ObjectIdentifier, parameters: Option<AnyRef<'_>>) -> Option<Self> {
        match algorithm {
            RSA => Some(Self::Rsa),
            EC => match parameters?.decode_as::<ObjectIdentifier>().ok()? {
                P256 => Some(Self::P256),
                P384 => Some(Self::P384),
                P521 => Some(Self::P521),
                _other => None,
            },
            _other => None,
        }
    }

    /// The challenge for such a key.
    pub(crate) fn challenge(self, nonce: [u8; NONCE_LEN]) -> Challenge {
        let nonce = Some(Nonce { nonce: Octets(nonce.to_vec()) });
        match self {
            Self::Rsa => Challenge { rsa_signature: nonce, ecdsa_signature: None },
            Self::P256 | Self::P384 | Self::P521 => Challenge { rsa_signature: None, ecdsa_signature: nonce },
        }
    }
}

/// Proof that who answered has the private key of this leaf. Made by [`verify`] alone.
#[derive(Debug)]
pub(crate) struct Possession(());

/// Checks, in order: the response is of the leaf's kind of key; the node's nonce has its length; the leaf's key signed both nonces.
pub(crate) fn verify(
    key: &LeafKey,
    nonce: &[u8; NONCE_LEN],
    response: &Response,
) -> Result<Possession, PossessionError> {
    let Response { rsa_signature, ecdsa_signature } = response;
    let good = match (key.kind, rsa_signature, ecdsa_signature) {
        (KeyKind::Rsa, Some(RsaResponse { nonce: theirs, signature }), None) => {
            verify_rsa(&key.spki, &signed(nonce, theirs)?, &signature.0)
        }
        (KeyKind::P256, None, Some(response)) => verify_ecdsa(key, &ECDSA_P256_SHA256_ASN1, nonce, response)?,
        (KeyKind::P384, None, Some(response)) => verify_ecdsa(key, &ECDSA_P384_SHA256_ASN1, nonce, response)?,
        (KeyKind::P521, None, Some(response)) => verify_ecdsa(key, &ECDSA_P521_SHA256_ASN1, nonce, response)?,
        (kind, _rsa, _ecdsa) => return Err(PossessionError::OtherKind { kind }),
    };
    if good { Ok(Possession(())) } else { Err(PossessionError::Signature) }
}

/// What both sides sign: the server's nonce, then the node's.
fn signed(challenge: &[u8], response: &Octets) -> Result<Vec<u8>, PossessionError> {
    if response.0.len() != NONCE_LEN {
        return Err(PossessionError::Nonce { got: response.0.len() });
    }
    Ok([challenge, response.0.as_slice()].concat())
}

fn verify_ecdsa(
    key: &LeafKey,
    algorithm: &'static dyn VerificationAlgorithm,
    nonce: &[u8; NONCE_LEN],
    EcdsaResponse { nonce: theirs, r, s }: &EcdsaResponse,
) -> Result<bool, PossessionError> {
    let message = signed(nonce, theirs)?;
    let Some(signature) = ecdsa_signature(&r.0, &s.0) else { return Ok(false) };
    Ok(UnparsedPublicKey::new(algorithm, &key.spki).verify(&message, &signature).is_ok())
}

/// ECDSA-Sig-Value (RFC 3279, section 2.2.3).
fn ecdsa_signature(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    #[derive(Sequence)]
    struct EcdsaSigValue<'a> {
        r: UintRef<'a>,
        s: UintRef<'a>,
    }
    EcdsaSigValue { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
}

fn verify_rsa(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = PublicKey::from_public_key_der(spki) else { return false };
    let Ok(signature) = Signature::try_from(signature) else { return false };
    VerifyingKey::<Sha256>::new_with_auto_salt_len(key).verify(message, &signature).is_ok()
}

/// Why a node has not proved that it has the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PossessionError {
    #[error("the response is not that of a key of type {kind:?}, which the certificate has")]
    OtherKind { kind: KeyKind },
    #[error("the node's nonce has {got} octets, not {NONCE_LEN}")]
    Nonce { got: usize },
    #[error("the certificate's key did not sign the two nonces")]
    Signature,
}
