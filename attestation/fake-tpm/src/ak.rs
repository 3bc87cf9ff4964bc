//! Attestation keys.

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use plastron_attestation::EkTemplate;
use plastron_attestation_tcg::algorithm::{ALG_ECC, ALG_ECDSA, ALG_NULL, ALG_RSA, ALG_RSASSA};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm, ObjectAttributes};

use crate::ek::tpm2b;
use crate::rsa::RsaKeys;

/// The type of new AKs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AkAlgorithm {
    /// ECDSA with SHA-256 on P-256.
    #[default]
    P256,
    /// ECDSA with SHA-384 on P-384, and SHA-384 for its Name.
    P384,
    /// RSASSA with SHA-256, RSA-2048.
    Rsa2048,
}

impl AkAlgorithm {
    /// nameAlg, and the hash of the scheme.
    pub(crate) fn hash(self) -> HashAlgorithm {
        match self {
            Self::P256 | Self::Rsa2048 => HashAlgorithm::Sha256,
            Self::P384 => HashAlgorithm::Sha384,
        }
    }
}

/// An AK, ready to sign.
#[derive(Clone)]
pub(crate) struct AkKey {
    /// The EK that it is a child of.
    pub(crate) parent: EkTemplate,
    algorithm: AkAlgorithm,
    public: Arc<[u8]>,
    signer: Signer,
}

#[derive(Clone)]
enum Signer {
    Ecdsa(Arc<EcdsaKeyPair>),
    Rsa(Arc<RsaKeyPair>),
}

impl AkKey {
    pub(crate) fn generate(
        parent: EkTemplate,
        algorithm: AkAlgorithm,
        attributes: ObjectAttributes,
        rsa: &RsaKeys,
    ) -> Self {
        let ecdsa = |signing| Signer::Ecdsa(Arc::new(EcdsaKeyPair::generate(signing).expect("an ECDSA key")));
        let signer = match algorithm {
            AkAlgorithm::P256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            AkAlgorithm::P384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            AkAlgorithm::Rsa2048 => {
                Signer::Rsa(Arc::new(RsaKeyPair::from_pkcs8(&rsa.next(2048)).expect("our own key")))
            }
        };
        Self { parent, algorithm, public: Arc::from(signer.public(algorithm, attributes)), signer }
    }

    /// Hash of its scheme, which is that of a quote's pcrDigest.
    pub(crate) fn hash(&self) -> HashAlgorithm {
        self.algorithm.hash()
    }

    /// TPMT_PUBLIC.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// TPMT_SIGNATURE over these bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(key) => self.encode_ecdsa(key.sign(&random, message).expect("a signature").as_ref()),
            Signer::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                let hash = self.hash().id().to_be_bytes();
                [&ALG_RSASSA.to_be_bytes(), hash.as_slice(), &tpm2b(&signature)].concat()
            }
        }
    }

    /// TPMT_SIGNATURE over a SHA-256 digest; `None` for a key that can't sign one.
    pub(crate) fn sign_digest(&self, digest: &[u8; 32]) -> Option<Vec<u8>> {
        let Signer::Ecdsa(key) = &self.signer else { return None };
        let digest = Digest::import_less_safe(digest, &SHA256).ok()?;
        Some(self.encode_ecdsa(key.sign_digest(&digest).ok()?.as_ref()))
    }

    /// Leading zeros of r and s are dropped, as some TPMs do.
    fn encode_ecdsa(&self, fixed: &[u8]) -> Vec<u8> {
        let hash = self.hash().id().to_be_bytes();
        let (r, s) = fixed.split_at(fixed.len() / 2);
        [&ALG_ECDSA.to_be_bytes(), hash.as_slice(), &tpm2b(without_zeros(r)), &tpm2b(without_zeros(s))].concat()
    }
}

impl Signer {
    fn public(&self, kind: AkAlgorithm, attributes: ObjectAttributes) -> Vec<u8> {
        let (algorithm, scheme) = match self {
            Self::Ecdsa(_) => (ALG_ECC, ALG_ECDSA),
            Self::Rsa(_) => (ALG_RSA, ALG_RSASSA),
        };
        let hash = kind.hash().id();
        let mut public = Vec::new();
        public.extend(algorithm.to_be_bytes());
        public.extend(hash.to_be_bytes());
        public.extend(attributes.0.to_be_bytes());
        public.extend(tpm2b(&[]));
        for field in [ALG_NULL, scheme, hash] {
            public.extend(field.to_be_bytes());
        }
        match self {
            Self::Ecdsa(key) => {
                let curve = if kind == AkAlgorithm::P384 { EccCurve::P384 } else { EccCurve::P256 };
                public.extend(curve.id().to_be_bytes());
                public.extend(ALG_NULL.to_be_bytes());
                let point = key.public_key().as_ref().get(1..).expect("an uncompressed point");
                let (x, y) = point.split_at(curve.field_len());
                public.extend(tpm2b(without_zeros(x)));
                public.extend(tpm2b(without_zeros(y)));
            }
            Self::Rsa(key) => {
                public.extend(2048u16.to_be_bytes());
                public.extend(0u32.to_be_bytes());
                public.extend(tpm2b(key.public_key().modulus().big_endian_without_leading_zero()));
            }
        }
        public
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
