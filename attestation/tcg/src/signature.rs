//! TPMT_SIGNATURE (TPM 2.0 Library part 2, section 11.3.4): RSASSA, RSAPSS and ECDSA.

use crate::algorithm::{ALG_ECDSA, ALG_RSAPSS, ALG_RSASSA};
use crate::{HashAlgorithm, ReadError, Reader};

/// Longest signature structure: RSA-4096 takes 518 bytes.
pub const MAX_SIGNATURE_LEN: usize = 1024;

/// A signature as a TPM writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmtSignature<'a> {
    /// RSASSA (PKCS #1 v1.5).
    RsaSsa {
        /// Hash of the signed bytes.
        hash: HashAlgorithm,
        /// The signature.
        signature: &'a [u8],
    },
    /// RSAPSS.
    RsaPss {
        /// Hash of the signed bytes.
        hash: HashAlgorithm,
        /// The signature.
        signature: &'a [u8],
    },
    /// ECDSA; the numbers may lack leading zeros.
    Ecdsa {
        /// Hash of the signed bytes.
        hash: HashAlgorithm,
        /// r, big-endian.
        r: &'a [u8],
        /// s, big-endian.
        s: &'a [u8],
    },
}

impl<'a> TpmtSignature<'a> {
    /// Reads a signature that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
        if bytes.len() > MAX_SIGNATURE_LEN {
            return Err(reader.too_many("bytes", bytes.len(), MAX_SIGNATURE_LEN));
        }
        let scheme = reader.u16()?;
        if !matches!(scheme, ALG_RSASSA | ALG_RSAPSS | ALG_ECDSA) {
            return Err(reader.value("sigAlg", scheme.into()));
        }
        let hash = reader.hash("hash")?;
        let signature = match scheme {
            ALG_RSASSA => Self::RsaSsa { hash, signature: reader.tpm2b()? },
            ALG_RSAPSS => Self::RsaPss { hash, signature: reader.tpm2b()? },
            _ => Self::Ecdsa { hash, r: reader.tpm2b()?, s: reader.tpm2b()? },
        };
        reader.end()?;
        Ok(signature)
    }

    /// TPM_ALG_ID of the scheme.
    pub fn scheme(&self) -> u16 {
        match self {
            Self::RsaSsa { .. } => ALG_RSASSA,
            Self::RsaPss { .. } => ALG_RSAPSS,
            Self::Ecdsa { .. } => ALG_ECDSA,
        }
    }

    /// Hash of the signed bytes.
    pub fn hash(&self) -> HashAlgorithm {
        match self {
            Self::RsaSsa { hash, .. } | Self::RsaPss { hash, .. } | Self::Ecdsa { hash, .. } => *hash,
        }
    }
}
