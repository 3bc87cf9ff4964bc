//! Which public keys SVIDs and authorities may have: P-256, P-384, P-521, RSA of 2048 to 8192 bits, Ed25519.

use der::asn1::UintRef;
use der::{Decode, Encode, Reader, SliceReader};
use rustls_pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};
use spki::SubjectPublicKeyInfoRef;

use crate::tlv::{SEQUENCE, tlv};

/// Range of RSA moduli, in bits: below, keys are weak; above, verifying them is a denial of service.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key of a kind that is supported.
pub(crate) struct PublicKey<'a> {
    /// Content of the AlgorithmIdentifier.
    pub(crate) algorithm: AlgorithmIdentifier,
    /// Content of subjectPublicKey.
    pub(crate) bits: &'a [u8],
}

/// Why a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo.
    #[error("malformed public key: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// Another kind of key.
    #[error("not a P-256, P-384, P-521, RSA or Ed25519 key")]
    Unsupported,
    /// Too weak or too expensive.
    #[error("RSA modulus of {bits} bits, where 2048 to 8192 are allowed")]
    RsaModulus {
        /// Its length.
        bits: usize,
    },
}

impl From<der::Error> for KeyError {
    fn from(error: der::Error) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo with no trailing bytes.
    pub(crate) fn parse(spki: &'a [u8]) -> Result<Self, KeyError> {
        let SubjectPublicKeyInfoRef { algorithm, subject_public_key } = SubjectPublicKeyInfoRef::from_der(spki)?;
        let bits = subject_public_key
            .as_bytes()
            .ok_or_else(|| KeyError::Malformed { reason: "not a whole number of bytes".to_owned() })?;
        let key = Self { algorithm: supported(&algorithm.to_der()?)?, bits };
        if key.algorithm == alg_id::RSA_ENCRYPTION {
            let (modulus, _) = key.rsa()?;
            let leading = modulus.first().map_or(0, |octet| octet.leading_zeros());
            let bits = (modulus.len() * 8).saturating_sub(usize::try_from(leading).unwrap_or(usize::MAX));
            if !RSA_BITS.contains(&bits) {
                return Err(KeyError::RsaModulus { bits });
            }
        }
        Ok(key)
    }

    /// Modulus and public exponent of an RSAPublicKey (RFC 8017, appendix A.1.1), big-endian without leading zeros.
    pub(crate) fn rsa(&self) -> Result<(&'a [u8], &'a [u8]), KeyError> {
        let mut reader = SliceReader::new(self.bits)?;
        let numbers = reader.sequence(|body| Ok::<_, der::Error>((UintRef::decode(body)?, UintRef::decode(body)?)))?;
        reader.finish()?;
        Ok((numbers.0.as_bytes(), numbers.1.as_bytes()))
    }

    /// The algorithms whose signatures this key can verify.
    pub(crate) fn verification_algorithms(
        &self,
    ) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> + use<> {
        let algorithm = self.algorithm;
        webpki::ALL_VERIFICATION_ALGS.iter().copied().filter(move |known| known.public_key_alg_id() == algorithm)
    }
}

/// The supported key algorithm that this AlgorithmIdentifier names.
fn supported(der: &[u8]) -> Result<AlgorithmIdentifier, KeyError> {
    webpki::ALL_VERIFICATION_ALGS
        .iter()
        .map(|known| known.public_key_alg_id())
        .find(|known| is_algorithm(known, der))
        .ok_or(KeyError::Unsupported)
}

/// Whether `der`, a whole AlgorithmIdentifier, is this one.
pub(crate) fn is_algorithm(algorithm: &AlgorithmIdentifier, der: &[u8]) -> bool {
    tlv(SEQUENCE, &[algorithm.as_ref()]) == der
}
