//! From PKCS#11's encodings to X.509's: public keys to SubjectPublicKeyInfo, r‖s to DER, digests to DigestInfo.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use der::asn1::{AnyRef, BitStringRef, Null, UintRef};
use der::{Encode, Sequence};
use plastron_hsm::{KeyType, SignatureScheme};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] = *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const SHA512_PREFIX: [u8; 19] = *b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// CKA_EC_PARAMS of a curve: its named-curve OID, DER.
pub(crate) fn ec_params(curve: ObjectIdentifier) -> Result<Vec<u8>, String> {
    curve.to_der().map_err(|error| error.to_string())
}

/// The curve of an EC key type, with the length of a coordinate in bytes.
pub(crate) fn curve(key_type: KeyType) -> Option<(ObjectIdentifier, usize)> {
    match key_type {
        KeyType::EcP256 => Some((SECP_256_R_1, 32)),
        KeyType::EcP384 => Some((SECP_384_R_1, 48)),
        KeyType::Rsa2048 | KeyType::Rsa4096 => None,
    }
}

/// The key type of CKA_EC_PARAMS.
pub(crate) fn ec_key_type(params: &[u8]) -> Option<KeyType> {
    [KeyType::EcP256, KeyType::EcP384].into_iter().find(|key_type| {
        curve(*key_type).and_then(|(oid, _)| ec_params(oid).ok()).is_some_and(|encoded| encoded == params)
    })
}

/// SubjectPublicKeyInfo of a CKA_EC_POINT: a DER OCTET STRING by the standard, the bare point in some tokens.
pub(crate) fn ec_public_key(key_type: KeyType, ec_point: &[u8]) -> Result<Vec<u8>, String> {
    let (oid, size) = curve(key_type).ok_or("not an EC key")?;
    let point_length = 2 * size + 1;
    let point = if ec_point.len() == point_length {
        ec_point
    } else {
        let octets = <&der::asn1::OctetStringRef as der::Decode>::from_der(ec_point);
        octets.map_err(|error| format!("CKA_EC_POINT of {} bytes: {error}", ec_point.len()))?.as_bytes()
    };
    if point.len() != point_length || point.first() != Some(&4) {
        return Err(format!("CKA_EC_POINT is not an uncompressed point of {point_length} bytes"));
    }
    let algorithm = AlgorithmIdentifier { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&oid)) };
    encode_spki(algorithm, point)
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// SubjectPublicKeyInfo of an RSA key, and its type.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Result<(KeyType, Vec<u8>), String> {
    let modulus = UintRef::new(modulus).map_err(|error| format!("CKA_MODULUS: {error}"))?;
    let exponent = UintRef::new(exponent).map_err(|error| format!("CKA_PUBLIC_EXPONENT: {error}"))?;
    if exponent.as_bytes() != [1, 0, 1] {
        return Err("CKA_PUBLIC_EXPONENT is not 65537".to_owned());
    }
    let high_bit = modulus.as_bytes().first().is_some_and(|byte| byte & 0x80 != 0);
    let key_type = match modulus.as_bytes().len() {
        256 if high_bit => KeyType::Rsa2048,
        512 if high_bit => KeyType::Rsa4096,
        length => return Err(format!("CKA_MODULUS has {length} bytes, neither 2048 nor 4096 bits")),
    };
    let key = RsaPublicKey { modulus, public_exponent: exponent }.to_der().map_err(|error| error.to_string())?;
    let algorithm = AlgorithmIdentifier { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::from(Null)) };
    Ok((key_type, encode_spki(algorithm, &key)?))
}

fn encode_spki(algorithm: AlgorithmIdentifier<AnyRef<'_>>, key: &[u8]) -> Result<Vec<u8>, String> {
    let subject_public_key = BitStringRef::from_bytes(key).map_err(|error| error.to_string())?;
    SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der().map_err(|error| error.to_string())
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The DER SEQUENCE of CKM_ECDSA's r‖s, each as long as the curve's order.
pub(crate) fn ecdsa_signature(key_type: KeyType, raw: &[u8]) -> Result<Vec<u8>, String> {
    let (_, size) = curve(key_type).ok_or("not an EC key")?;
    let parts = raw.split_at_checked(size).filter(|(_, s)| s.len() == size);
    let (r, s) = parts.ok_or_else(|| format!("CKM_ECDSA returned {} bytes, not {}", raw.len(), 2 * size))?;
    let part = |bytes| UintRef::new(bytes).map_err(|error| error.to_string());
    EcdsaSignature { r: part(r)?, s: part(s)? }.to_der().map_err(|error| error.to_string())
}

/// What C_Sign is given: the digest for CKM_ECDSA, the DigestInfo for CKM_RSA_PKCS.
pub(crate) fn to_be_signed(scheme: SignatureScheme, digest: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = match scheme {
        SignatureScheme::EcdsaSha256 | SignatureScheme::EcdsaSha384 => &[],
        SignatureScheme::RsaPkcs1Sha256 => &SHA256_PREFIX,
        SignatureScheme::RsaPkcs1Sha512 => &SHA512_PREFIX,
    };
    [prefix, digest].concat()
}

#[cfg(test)]
mod tests {
    use super::{ec_public_key, ecdsa_signature, rsa_public_key};
    use plastron_hsm::KeyType;

    #[test]
    fn a_point_is_taken_wrapped_and_bare_and_nothing_else() {
        let mut bare = vec![7; 65];
        bare[0] = 4;
        let wrapped = [&[4, 65], bare.as_slice()].concat();
        let spki = ec_public_key(KeyType::EcP256, &bare).unwrap();
        assert_eq!(spki, ec_public_key(KeyType::EcP256, &wrapped).unwrap());
        assert_eq!(spki.len(), 91);
        let mut compressed = bare.clone();
        compressed[0] = 2;
        for wrong in [&[][..], &bare[..64], &wrapped[..66], &compressed, &[4, 0], &[4, 1, 4]] {
            assert!(ec_public_key(KeyType::EcP256, wrong).is_err(), "{wrong:?}");
        }
        assert!(ec_public_key(KeyType::EcP384, &bare).is_err());
    }

    #[test]
    fn r_and_s_become_the_shortest_integers() {
        let mut raw = [0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = ecdsa_signature(KeyType::EcP256, &raw).unwrap();
        assert_eq!(der[..7], [0x30, 38, 2, 1, 1, 2, 33]);
        assert_eq!(der[7..9], [0, 0x80]);
        for length in [0, 63, 65, 96] {
            assert!(ecdsa_signature(KeyType::EcP256, &vec![1; length]).is_err());
        }
    }

    #[test]
    fn rsa_keys_of_other_sizes_are_refused() {
        assert_eq!(rsa_public_key(&[0xc0; 256], &[1, 0, 1]).unwrap().0, KeyType::Rsa2048);
        assert_eq!(rsa_public_key(&[&[0], [0xc0; 512].as_slice()].concat(), &[1, 0, 1]).unwrap().0, KeyType::Rsa4096);
        assert!(rsa_public_key(&[0x40; 256], &[1, 0, 1]).is_err());
        assert!(rsa_public_key(&[0xc0; 128], &[1, 0, 1]).is_err());
        assert!(rsa_public_key(&[0xc0; 256], &[3]).is_err());
    }
}
