//! The key of the agent's SVID in the TPM, as whoever signs with it sees it.

use std::fmt;
use std::sync::PoisonError;

use plastron_attestation::{SvidKeyBlob, TpmDeviceError};
use plastron_attestation_appraise::spki_of_public_area;
use plastron_attestation_tcg::{HashAlgorithm, TpmtSignature};
use plastron_plugins::node::{HeldKey, HeldKeyError};

use crate::agent::FreshSvidKey;
use crate::tpm_thread::TpmThread;

/// DER tags.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// A key that signs on the TPM's thread.
pub(crate) struct ResidentSvidKey {
    tpm: TpmThread,
    blob: SvidKeyBlob,
    fresh: FreshSvidKey,
    public_key: Vec<u8>,
}

impl ResidentSvidKey {
    pub(crate) fn new(tpm: TpmThread, blob: SvidKeyBlob, fresh: FreshSvidKey) -> Result<Self, HeldKeyError> {
        let public_key = spki_of_public_area(&blob.public)
            .map_err(|error| HeldKeyError { reason: format!("its public area is of no use: {error}") })?;
        Ok(Self { tpm, blob, fresh, public_key })
    }
}

impl HeldKey for ResidentSvidKey {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HeldKeyError> {
        let failed = |reason: String| HeldKeyError { reason };
        let digest = HashAlgorithm::Sha256.digest([message]);
        let digest = digest.try_into().map_err(|_| failed("a SHA-256 has 32 bytes".to_owned()))?;
        let signature = self.tpm.sign(self.blob.clone(), digest).map_err(|gone| failed(gone.to_string()))?;
        if matches!(signature, Err(TpmDeviceError::SvidKeyNotLoadable { .. })) {
            // The thread has put the file aside; whoever asks for the key next gets another.
            *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let signature = signature.map_err(|error| failed(error.to_string()))?;
        match TpmtSignature::parse(&signature) {
            Ok(TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r, s }) => {
                encode(r, s).ok_or_else(|| failed("r or s is empty or too long".to_owned()))
            }
            Ok(_) => Err(failed("a signature of another scheme".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

impl fmt::Debug for ResidentSvidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tpm: _, blob: _, fresh: _, public_key: _ } = self;
        f.write_str("ResidentSvidKey")
    }
}

/// Ecdsa-Sig-Value (RFC 3279, section 2.2.3) of numbers of at most 32 bytes.
fn encode(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let body = [integer(r)?, integer(s)?].concat();
    let mut signature = vec![SEQUENCE, u8::try_from(body.len()).ok()?];
    signature.extend(body);
    Some(signature)
}

fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let first = number.iter().position(|byte| *byte != 0)?;
    let digits = number.get(first..).filter(|digits| digits.len() <= 32)?;
    // A number whose highest bit is set would be negative.
    let sign = digits.first().filter(|byte| **byte & 0x80 != 0).map(|_| 0);
    let mut encoded = vec![INTEGER, u8::try_from(digits.len() + usize::from(sign.is_some())).ok()?];
    encoded.extend(sign);
    encoded.extend_from_slice(digits);
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_der_wants_them() {
        assert_eq!(encode(&[0, 0x80], &[1]).unwrap(), [0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]);
        assert_eq!(encode(&[0x7f], &[0, 0, 2]).unwrap(), [0x30, 6, 2, 1, 0x7f, 2, 1, 2]);
        assert_eq!(encode(&[0xff; 32], &[0xff; 32]).unwrap().len(), 2 + 2 * (2 + 33));
        for bad in [&[][..], &[0], &[1; 33]] {
            assert_eq!(encode(bad, &[1]), None);
            assert_eq!(encode(&[1], bad), None);
        }
    }
}
