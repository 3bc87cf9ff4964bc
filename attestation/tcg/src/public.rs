//! TPMT_PUBLIC of asymmetric keys (TPM 2.0 Library part 2, section 12.2.4).
//!
//! RSA and NIST P-256/P-384 keys only: symmetric objects and sealed data have no place in attestation.

use crate::algorithm::{
    ALG_ECC, ALG_ECDAA, ALG_ECDH, ALG_ECDSA, ALG_ECSCHNORR, ALG_NULL, ALG_OAEP, ALG_RSA, ALG_RSAES, ALG_RSAPSS,
    ALG_RSASSA, ALG_SM2,
};
use crate::{EccCurve, HashAlgorithm, Name, ObjectAttributes, ReadError, Reader};

/// Longest public area: RSA-4096 with a SHA-512 policy is under 700 bytes.
pub const MAX_PUBLIC_LEN: usize = 1024;

/// The public exponent that a TPM means by 0.
const DEFAULT_EXPONENT: u32 = 65537;

/// The public area of a key, borrowed from the bytes that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmtPublic<'a> {
    bytes: &'a [u8],
    /// Hash of the Name.
    pub name_alg: HashAlgorithm,
    /// Attributes.
    pub attributes: ObjectAttributes,
    /// authPolicy, possibly empty.
    pub auth_policy: &'a [u8],
    /// Symmetric algorithm of a storage key.
    pub symmetric: Option<SymmetricDefinition>,
    /// Scheme, where the key is bound to one.
    pub scheme: Option<AsymScheme>,
    /// The key itself.
    pub key: PublicKey<'a>,
}

/// TPMT_SYM_DEF_OBJECT: raw identifiers, to be compared with what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymmetricDefinition {
    /// TPM_ALG_ID of the cipher.
    pub algorithm: u16,
    /// Key size.
    pub key_bits: u16,
    /// TPM_ALG_ID of the mode.
    pub mode: u16,
}

/// A scheme with its hash; the hash is absent where the scheme takes none (RSAES).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsymScheme {
    /// TPM_ALG_ID of the scheme.
    pub scheme: u16,
    /// TPM_ALG_ID of its hash.
    pub hash: Option<u16>,
}

/// Parameters and unique field of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// RSA.
    Rsa {
        /// keyBits as stated; the modulus says how long it is.
        key_bits: u16,
        /// Public exponent, 65537 where the area says 0.
        exponent: u32,
        /// Modulus, big-endian. Empty in a template.
        modulus: &'a [u8],
    },
    /// A point; coordinates may lack leading zeros. Empty in a template.
    Ecc {
        /// Curve.
        curve: EccCurve,
        /// Affine x.
        x: &'a [u8],
        /// Affine y.
        y: &'a [u8],
    },
}

impl<'a> TpmtPublic<'a> {
    /// Reads a public area that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes);
        if bytes.len() > MAX_PUBLIC_LEN {
            return Err(reader.too_many("bytes", bytes.len(), MAX_PUBLIC_LEN));
        }
        let algorithm = reader.u16()?;
        if algorithm != ALG_RSA && algorithm != ALG_ECC {
            return Err(reader.value("type", algorithm.into()));
        }
        let name_alg = reader.hash("nameAlg")?;
        let attributes = ObjectAttributes(reader.u32()?);
        let auth_policy = reader.tpm2b()?;
        let symmetric = read_symmetric(&mut reader)?;
        let scheme = read_scheme(&mut reader, algorithm)?;
        let key = if algorithm == ALG_RSA { read_rsa(&mut reader)? } else { read_ecc(&mut reader)? };
        reader.end()?;
        Ok(Self { bytes, name_alg, attributes, auth_policy, symmetric, scheme, key })
    }

    /// The bytes that were read.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The Name, over the bytes that were read.
    pub fn name(&self) -> Name {
        Name::of(self.name_alg, self.bytes)
    }
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<SymmetricDefinition>, ReadError> {
    match reader.u16()? {
        ALG_NULL => Ok(None),
        algorithm => Ok(Some(SymmetricDefinition { algorithm, key_bits: reader.u16()?, mode: reader.u16()? })),
    }
}

fn read_scheme(reader: &mut Reader<'_>, algorithm: u16) -> Result<Option<AsymScheme>, ReadError> {
    let scheme = reader.u16()?;
    let known = match algorithm {
        ALG_RSA => matches!(scheme, ALG_NULL | ALG_RSASSA | ALG_RSAPSS | ALG_OAEP | ALG_RSAES),
        _ => matches!(scheme, ALG_NULL | ALG_ECDSA | ALG_ECDH | ALG_ECDAA | ALG_SM2 | ALG_ECSCHNORR),
    };
    if !known {
        return Err(reader.value("scheme", scheme.into()));
    }
    match scheme {
        ALG_NULL => Ok(None),
        ALG_RSAES => Ok(Some(AsymScheme { scheme, hash: None })),
        ALG_ECDAA => {
            let hash = reader.u16()?;
            reader.u16()?;
            Ok(Some(AsymScheme { scheme, hash: Some(hash) }))
        }
        _ => Ok(Some(AsymScheme { scheme, hash: Some(reader.u16()?) })),
    }
}

fn read_rsa<'a>(reader: &mut Reader<'a>) -> Result<PublicKey<'a>, ReadError> {
    let key_bits = reader.u16()?;
    let exponent = match reader.u32()? {
        0 => DEFAULT_EXPONENT,
        exponent => exponent,
    };
    Ok(PublicKey::Rsa { key_bits, exponent, modulus: reader.tpm2b()? })
}

fn read_ecc<'a>(reader: &mut Reader<'a>) -> Result<PublicKey<'a>, ReadError> {
    let curve_id = reader.u16()?;
    let curve = EccCurve::from_id(curve_id).ok_or_else(|| reader.value("curveID", curve_id.into()))?;
    // No key of a TPM has a key derivation scheme of its own (part 2, section 12.2.3.6).
    match reader.u16()? {
        ALG_NULL => {}
        kdf => return Err(reader.value("kdf", kdf.into())),
    }
    let (x, y) = (reader.tpm2b()?, reader.tpm2b()?);
    for coordinate in [x, y] {
        if coordinate.len() > curve.field_len() {
            return Err(reader.too_many("bytes of coordinate", coordinate.len(), curve.field_len()));
        }
    }
    Ok(PublicKey::Ecc { curve, x, y })
}

/// An uncompressed point (SEC 1, section 2.3.3); TPMs drop leading zeros of coordinates, so they are put back. `None` where a
/// coordinate is empty or too long for the curve.
pub fn sec1_point(curve: EccCurve, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    let mut point = vec![4];
    point.extend(left_pad(x, curve.field_len())?);
    point.extend(left_pad(y, curve.field_len())?);
    Some(point)
}

/// A non-empty big-endian number with leading zeros up to `len` bytes; `None` where it is empty or longer.
pub fn left_pad(number: &[u8], len: usize) -> Option<Vec<u8>> {
    if number.is_empty() {
        return None;
    }
    let mut padded = vec![0; len.checked_sub(number.len())?];
    padded.extend_from_slice(number);
    Some(padded)
}
