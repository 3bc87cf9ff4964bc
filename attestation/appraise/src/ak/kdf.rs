//! Key derivation of the TPM 2.0 Library (part 1, sections 11.4.10.2 and 11.4.10.3), with SHA-256 and SHA-384.

use hmac::{Hmac, KeyInit, Mac};
use plastron_attestation_tcg::HashAlgorithm;
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

use crate::AppraiseError;

const UNSUPPORTED: AppraiseError =
    AppraiseError::MakeCredential { reason: "the EK's nameAlg is neither SHA-256 nor SHA-384" };

/// HMAC over the parts.
pub(crate) fn hmac(hash: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, AppraiseError> {
    fn over<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, AppraiseError> {
        let mut mac = <M as KeyInit>::new_from_slice(key)
            .map_err(|_| AppraiseError::MakeCredential { reason: "the HMAC key has no acceptable length" })?;
        for part in parts {
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().to_vec())
    }
    match hash {
        HashAlgorithm::Sha256 => over::<Hmac<Sha256>>(key, parts),
        HashAlgorithm::Sha384 => over::<Hmac<Sha384>>(key, parts),
        HashAlgorithm::Sha1 | HashAlgorithm::Sha512 => Err(UNSUPPORTED),
    }
}

/// KDFa: SP 800-108 in counter mode, `HMAC(key, counter ‖ label ‖ 0 ‖ contextU ‖ contextV ‖ bits)`.
pub(crate) fn kdfa(
    hash: HashAlgorithm,
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    bits: u32,
) -> Result<Zeroizing<Vec<u8>>, AppraiseError> {
    counter_mode(bits, |counter| {
        hmac(hash, key, &[&counter, label.as_bytes(), &[0], context_u, context_v, &bits.to_be_bytes()])
    })
}

/// KDFe: SP 800-56A, `H(counter ‖ Z ‖ label ‖ 0 ‖ PartyUInfo ‖ PartyVInfo)`; all three are x coordinates of full length.
pub(crate) fn kdfe(
    hash: HashAlgorithm,
    z: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
    bits: u32,
) -> Result<Zeroizing<Vec<u8>>, AppraiseError> {
    counter_mode(bits, |counter| Ok(hash.digest([counter.as_slice(), z, label.as_bytes(), &[0], party_u, party_v])))
}

fn counter_mode(
    bits: u32,
    mut block: impl FnMut([u8; 4]) -> Result<Vec<u8>, AppraiseError>,
) -> Result<Zeroizing<Vec<u8>>, AppraiseError> {
    let len = usize::try_from(bits / 8).unwrap_or_default();
    let mut output = Zeroizing::new(Vec::new());
    for counter in 1u32.. {
        if output.len() >= len {
            break;
        }
        output.extend_from_slice(&Zeroizing::new(block(counter.to_be_bytes())?));
    }
    output.truncate(len);
    Ok(output)
}
