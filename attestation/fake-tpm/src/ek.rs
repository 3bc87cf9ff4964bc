//! Endorsement keys.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::KeyPair as _;
use p384::elliptic_curve::sec1::ToSec1Point;
use plastron_attestation::EkTemplate;
use plastron_attestation_tcg::{EccCurve, EkKeyType, HashAlgorithm};

use crate::activate::kdfe;
use crate::rsa::RsaKeys;

/// SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// SubjectPublicKeyInfo of a P-384 key up to its point (RFC 5480).
const P384_SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

/// An EK with what NV holds beside it.
#[derive(Clone)]
pub(crate) struct Ek {
    pub(crate) template: EkTemplate,
    /// TPMT_PUBLIC.
    pub(crate) public: Arc<[u8]>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) chain: Vec<Vec<u8>>,
    key: EkKey,
}

#[derive(Clone)]
enum EkKey {
    Rsa { modulus: Arc<[u8]>, spki: Arc<[u8]>, key: Arc<OaepPrivateDecryptingKey> },
    P256 { secret: p256::SecretKey },
    P384 { secret: p384::SecretKey },
}

/// Bits of the template's modulus, where it is of RSA.
pub(crate) fn rsa_bits(template: EkTemplate) -> Option<u16> {
    match template.key_type() {
        EkKeyType::Rsa(bits) => Some(bits),
        EkKeyType::Ecc(_) => None,
    }
}

impl Ek {
    /// A key by the template, without a certificate.
    pub(crate) fn generate(template: EkTemplate, rsa: &RsaKeys) -> Self {
        let key = match template.key_type() {
            EkKeyType::Rsa(bits) => EkKey::rsa(&rsa.next(bits)),
            EkKeyType::Ecc(EccCurve::P256) => {
                let mut scalar = [0; 32];
                getrandom::fill(&mut scalar).expect("randomness");
                EkKey::P256 { secret: p256::SecretKey::from_slice(&scalar).expect("a scalar in range") }
            }
            EkKeyType::Ecc(EccCurve::P384) => {
                let mut scalar = [0; 48];
                getrandom::fill(&mut scalar).expect("randomness");
                EkKey::P384 { secret: p384::SecretKey::from_slice(&scalar).expect("a scalar in range") }
            }
        };
        let public = Arc::from(key.public(template));
        Self { template, public, certificate: None, chain: Vec::new(), key }
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match &self.key {
            EkKey::Rsa { spki, .. } => spki.to_vec(),
            EkKey::P256 { secret } => {
                [P256_SPKI_PREFIX.as_slice(), secret.public_key().to_sec1_point(false).as_bytes()].concat()
            }
            EkKey::P384 { secret } => {
                [P384_SPKI_PREFIX.as_slice(), secret.public_key().to_sec1_point(false).as_bytes()].concat()
            }
        }
    }

    pub(crate) fn is_rsa(&self) -> bool {
        matches!(self.key, EkKey::Rsa { .. })
    }

    /// The seed in a TPM2B_ENCRYPTED_SECRET's buffer: decrypted with OAEP, or agreed with the ephemeral point.
    pub(crate) fn seed(&self, secret: &[u8]) -> Option<Vec<u8>> {
        let hash = self.template.name_alg();
        match &self.key {
            EkKey::Rsa { key, .. } => {
                let oaep = match hash {
                    HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
                    _ => &OAEP_SHA256_MGF1SHA256,
                };
                let mut seed = vec![0; key.min_output_size()];
                Some(key.decrypt(oaep, secret, &mut seed, Some(b"IDENTITY\0")).ok()?.to_vec())
            }
            EkKey::P256 { secret: own } => {
                let point = ephemeral_point(EccCurve::P256, secret)?;
                let z = own.diffie_hellman(&p256::PublicKey::from_sec1_bytes(&point).ok()?);
                let own = own.public_key().to_sec1_point(false);
                Some(kdfe(hash, z.raw_secret_bytes(), point.get(1..33)?, own.x()?))
            }
            EkKey::P384 { secret: own } => {
                let point = ephemeral_point(EccCurve::P384, secret)?;
                let z = own.diffie_hellman(&p384::PublicKey::from_sec1_bytes(&point).ok()?);
                let own = own.public_key().to_sec1_point(false);
                Some(kdfe(hash, z.raw_secret_bytes(), point.get(1..49)?, own.x()?))
            }
        }
    }
}

impl EkKey {
    fn rsa(pkcs8: &[u8]) -> Self {
        let pair = KeyPair::from_pkcs8(pkcs8).expect("our own key");
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).expect("our own key");
        let public = key.public_key();
        let spki: PublicKeyX509Der<'_> = public.as_der().expect("its encoding");
        Self::Rsa {
            modulus: Arc::from(pair.public_key().modulus().big_endian_without_leading_zero()),
            spki: Arc::from(spki.as_ref()),
            key: Arc::new(OaepPrivateDecryptingKey::new(key).expect("our own key")),
        }
    }

    /// TPMT_PUBLIC by the template.
    fn public(&self, template: EkTemplate) -> Vec<u8> {
        let mut public = template.public_before_unique();
        match self {
            Self::Rsa { modulus, .. } => public.extend(tpm2b(modulus)),
            Self::P256 { secret } => {
                let point = secret.public_key().to_sec1_point(false);
                public.extend(tpm2b(point.x().expect("an x coordinate")));
                public.extend(tpm2b(point.y().expect("a y coordinate")));
            }
            Self::P384 { secret } => {
                let point = secret.public_key().to_sec1_point(false);
                public.extend(tpm2b(point.x().expect("an x coordinate")));
                public.extend(tpm2b(point.y().expect("a y coordinate")));
            }
        }
        public
    }
}

/// TPMS_ECC_POINT, uncompressed.
fn ephemeral_point(curve: EccCurve, secret: &[u8]) -> Option<Vec<u8>> {
    let (x, rest) = split_tpm2b(secret)?;
    let (y, []) = split_tpm2b(rest)? else { return None };
    plastron_attestation_tcg::sec1_point(curve, x, y)
}

pub(crate) fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    let mut sized = u16::try_from(bytes.len()).expect("a short value").to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}

pub(crate) fn split_tpm2b(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*size).into())
}
