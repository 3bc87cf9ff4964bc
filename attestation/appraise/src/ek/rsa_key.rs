//! The algorithm identifier of an RSA key in an EK certificate: rsaEncryption (RFC 3279, section 2.3.1) or id-RSAES-OAEP with its parameters
//! (RFC 4055, section 4.1), as Infineon's certificates have it.
//!
//! What the parameters say has no consequence: credentials are encrypted as the EK's template says. They have to be what they are called.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    ID_MGF_1, ID_P_SPECIFIED, ID_RSAES_OAEP, ID_SHA_1, ID_SHA_256, ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION,
};
use der::asn1::{AnyRef, ContextSpecific, OctetStringRef};
use der::{TagNumber, Tagged};
use spki::AlgorithmIdentifierRef;

/// Hash functions of OAEP.
const HASHES: [ObjectIdentifier; 4] = [ID_SHA_1, ID_SHA_256, ID_SHA_384, ID_SHA_512];

/// Longest label: Infineon's is `TCPA`.
const MAX_LABEL_LEN: usize = 64;

/// Checks, in order: one of the two algorithms; the parameters of rsaEncryption absent or NULL; those of id-RSAES-OAEP absent, or hash
/// function, mask generation function and label source, each known.
pub(crate) fn check(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), &'static str> {
    match (algorithm.oid, algorithm.parameters) {
        (RSA_ENCRYPTION, None) | (ID_RSAES_OAEP, None) => Ok(()),
        (RSA_ENCRYPTION, Some(parameters)) if parameters == AnyRef::NULL => Ok(()),
        (RSA_ENCRYPTION, Some(_)) => Err("rsaEncryption has parameters"),
        (ID_RSAES_OAEP, Some(parameters)) => {
            oaep(parameters).map_err(|_| "its RSAES-OAEP parameters are not such, or name an unknown function")
        }
        _ => Err("it is not an RSA key"),
    }
}

fn oaep(parameters: AnyRef<'_>) -> der::Result<()> {
    let bad = || der::Error::from(der::ErrorKind::Value { tag: parameters.tag() });
    parameters.sequence(|reader| {
        let mut part = |number| -> der::Result<Option<AlgorithmIdentifierRef<'_>>> {
            let part = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(reader, TagNumber(number))?;
            Ok(part.map(|part| part.value))
        };
        let (hash, mask, source) = (part(0)?, part(1)?, part(2)?);
        if hash.is_some_and(|hash| !HASHES.contains(&hash.oid)) {
            return Err(bad());
        }
        if let Some(mask) = mask {
            let hash: AlgorithmIdentifierRef<'_> = mask.parameters.ok_or_else(bad)?.decode_as()?;
            if mask.oid != ID_MGF_1 || !HASHES.contains(&hash.oid) {
                return Err(bad());
            }
        }
        if let Some(source) = source {
            let label: &OctetStringRef = source.parameters.ok_or_else(bad)?.decode_as()?;
            if source.oid != ID_P_SPECIFIED || label.as_bytes().len() > MAX_LABEL_LEN {
                return Err(bad());
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use der::Decode;

    use super::*;

    fn judge(hex: &str) -> Result<(), &'static str> {
        check(&AlgorithmIdentifierRef::from_der(&hex::decode(hex).unwrap()).unwrap())
    }

    #[test]
    fn the_parameters_of_an_rsa_key_are_judged() {
        // rsaEncryption, with NULL and without parameters.
        judge("300d06092a864886f70d0101010500").unwrap();
        judge("300b06092a864886f70d010101").unwrap();
        // id-RSAES-OAEP: without parameters; with none but defaults; with the label that Infineon writes; with SHA-256 throughout.
        judge("300b06092a864886f70d010107").unwrap();
        judge("300d06092a864886f70d0101073000").unwrap();
        judge("302206092a864886f70d0101073015a213301106092a864886f70d010109040454435041").unwrap();
        judge("303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500").unwrap();
        for (bad, reason) in [
            ("300d06092a864886f70d0101013000", "rsaEncryption has parameters"),
            ("300d06092a864886f70d0101070500", "RSAES-OAEP"),
            // MD5 as the hash function.
            ("301d06092a864886f70d0101073010a00e300c06082a864886f70d02050500", "RSAES-OAEP"),
            // A label source that is none, and something behind the label.
            ("302206092a864886f70d0101073015a213301106092a864886f70d010108040454435041", "RSAES-OAEP"),
            ("302406092a864886f70d0101073017a213301106092a864886f70d0101090404544350410500", "RSAES-OAEP"),
            ("300706052b8104001c", "not an RSA key"),
        ] {
            let refused = judge(bad).unwrap_err();
            assert!(refused.contains(reason), "{bad}: {refused}");
        }
    }
}
