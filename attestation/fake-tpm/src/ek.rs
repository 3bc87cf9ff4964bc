//! Endorsement keys.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::KeyPair as _;
use p384::elliptic_curve::sec1::ToSec1Point;
use plastron_attestation::EkTemplate;
use plastron_attestation_tcg::algorithm::{ALG_ECC, ALG_NULL, ALG_RSA};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm};

use crate::activate::kdfe;

/// SubjectPublicKeyInfo of a P-384 key up to its point (RFC 5480).
const P384_SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

#[derive(Clone)]
pub(crate) enum EkKey {
    Rsa { pkcs8: Vec<u8> },
    P384 { secret: p384::SecretKey },
}

impl EkKey {
    pub(crate) fn generate(template: EkTemplate) -> Self {
        match template {
            EkTemplate::L1Rsa2048 => {
                let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("an RSA key");
                let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("its encoding");
                Self::Rsa { pkcs8: pkcs8.as_ref().to_vec() }
            }
            EkTemplate::H3P384 => {
                let mut scalar = [0; 48];
                getrandom::fill(&mut scalar).expect("randomness");
                Self::P384 { secret: p384::SecretKey::from_slice(&scalar).expect("a scalar in range") }
            }
        }
    }

    fn template(&self) -> EkTemplate {
        match self {
            Self::Rsa { .. } => EkTemplate::L1Rsa2048,
            Self::P384 { .. } => EkTemplate::H3P384,
        }
    }

    /// SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa { pkcs8 } => {
                let key = PrivateDecryptingKey::from_pkcs8(pkcs8).expect("our own key").public_key();
                let spki: PublicKeyX509Der<'_> = key.as_der().expect("its encoding");
                spki.as_ref().to_vec()
            }
            Self::P384 { secret } => {
                [P384_SPKI_PREFIX.as_slice(), secret.public_key().to_sec1_point(false).as_bytes()].concat()
            }
        }
    }

    pub(crate) fn is_rsa(&self) -> bool {
        matches!(self, Self::Rsa { .. })
    }

    /// TPMT_PUBLIC by the template.
    pub(crate) fn public(&self) -> Vec<u8> {
        let template = self.template();
        let algorithm = if self.is_rsa() { ALG_RSA } else { ALG_ECC };
        let symmetric = template.symmetric();
        let mut public = Vec::new();
        for field in [algorithm, template.name_alg().id()] {
            public.extend(field.to_be_bytes());
        }
        public.extend(template.attributes().0.to_be_bytes());
        public.extend(tpm2b(template.auth_policy()));
        for field in [symmetric.algorithm, symmetric.key_bits, symmetric.mode, ALG_NULL] {
            public.extend(field.to_be_bytes());
        }
        match self {
            Self::Rsa { pkcs8 } => {
                public.extend(2048u16.to_be_bytes());
                public.extend(0u32.to_be_bytes());
                let key = KeyPair::from_pkcs8(pkcs8).expect("our own key");
                public.extend(tpm2b(key.public_key().modulus().big_endian_without_leading_zero()));
            }
            Self::P384 { secret } => {
                public.extend(EccCurve::P384.id().to_be_bytes());
                public.extend(ALG_NULL.to_be_bytes());
                let point = secret.public_key().to_sec1_point(false);
                public.extend(tpm2b(point.x().expect("an x coordinate")));
                public.extend(tpm2b(point.y().expect("a y coordinate")));
            }
        }
        public
    }

    /// The seed in a TPM2B_ENCRYPTED_SECRET, and the EK's nameAlg.
    pub(crate) fn seed(&self, secret: &[u8]) -> Option<(Vec<u8>, HashAlgorithm)> {
        match self {
            Self::Rsa { pkcs8 } => {
                let key = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
                let key = OaepPrivateDecryptingKey::new(key).ok()?;
                let mut seed = vec![0; key.min_output_size()];
                let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, Some(b"IDENTITY\0")).ok()?.to_vec();
                Some((seed, HashAlgorithm::Sha256))
            }
            Self::P384 { secret: own } => {
                let (x, rest) = split_tpm2b(secret)?;
                let (y, rest) = split_tpm2b(rest)?;
                if !rest.is_empty() {
                    return None;
                }
                let point = plastron_attestation_tcg::sec1_point(EccCurve::P384, x, y)?;
                let ephemeral = p384::PublicKey::from_sec1_bytes(&point).ok()?;
                let z = own.diffie_hellman(&ephemeral);
                let own_point = own.public_key().to_sec1_point(false);
                let own_x = own_point.x()?.to_vec();
                let ephemeral_x = point.get(1..49)?;
                Some((kdfe(z.raw_secret_bytes(), ephemeral_x, &own_x), HashAlgorithm::Sha384))
            }
        }
    }
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
