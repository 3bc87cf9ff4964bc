//! TPM2_ActivateCredential (TPM 2.0 Library part 3, section 12.5; part 1, section 24), written apart from the verifier's half.

use aes::{Aes128, Aes256};
use cfb_mode::Decryptor;
use cfb_mode::cipher::KeyIvInit;
use hmac::{Hmac, KeyInit, Mac};
use plastron_attestation_tcg::HashAlgorithm;
use sha2::{Digest, Sha256, Sha384};

use crate::ek::{EkKey, split_tpm2b};

/// The secret, or what the TPM would refuse.
pub(crate) fn activate(ek: &EkKey, ak_name: &[u8], id_object: &[u8], secret: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (seed, hash) = ek.seed(secret).ok_or("TPM_RC_VALUE: the secret is not for this EK")?;
    let (integrity, identity) = split_tpm2b(id_object).ok_or("TPM_RC_SIZE")?;
    let mac_key = kdfa(hash, &seed, b"INTEGRITY", &[], hash.digest_len());
    if hmac(hash, &mac_key, &[identity, ak_name]) != integrity {
        return Err("TPM_RC_INTEGRITY");
    }
    let mut text = identity.to_vec();
    match hash {
        HashAlgorithm::Sha256 => {
            let key = kdfa(hash, &seed, b"STORAGE", ak_name, 16);
            Decryptor::<Aes128>::new_from_slices(&key, &[0; 16]).expect("a key of 16 bytes").decrypt(&mut text);
        }
        _ => {
            let key = kdfa(hash, &seed, b"STORAGE", ak_name, 32);
            Decryptor::<Aes256>::new_from_slices(&key, &[0; 16]).expect("a key of 32 bytes").decrypt(&mut text);
        }
    }
    match split_tpm2b(&text) {
        Some((credential, [])) => Ok(credential.to_vec()),
        _ => Err("TPM_RC_SIZE"),
    }
}

fn hmac(hash: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let all = parts.concat();
    match hash {
        HashAlgorithm::Sha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
            mac.update(&all);
            mac.finalize().into_bytes().to_vec()
        }
        _ => {
            let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("any key");
            mac.update(&all);
            mac.finalize().into_bytes().to_vec()
        }
    }
}

/// One block is enough for every length here.
fn kdfa(hash: HashAlgorithm, key: &[u8], label: &[u8], context: &[u8], len: usize) -> Vec<u8> {
    let bits = u32::try_from(len * 8).expect("a short key");
    let mut block = hmac(hash, key, &[&1u32.to_be_bytes(), label, &[0], context, &bits.to_be_bytes()]);
    block.truncate(len);
    block
}

/// The seed of a P-384 EK: 384 bits, so one block.
pub(crate) fn kdfe(z: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    let mut hash = Sha384::new();
    hash.update(1u32.to_be_bytes());
    hash.update(z);
    hash.update(b"IDENTITY\0");
    hash.update(party_u);
    hash.update(party_v);
    hash.finalize().to_vec()
}
