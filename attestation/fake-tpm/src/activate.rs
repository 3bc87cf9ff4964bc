//! TPM2_ActivateCredential (TPM 2.0 Library part 3, section 12.5; part 1, section 24), written apart from the verifier's half.

use aes::{Aes128, Aes256};
use cfb_mode::Decryptor;
use cfb_mode::cipher::KeyIvInit;
use hmac::{Hmac, KeyInit, Mac};
use plastron_attestation_tcg::HashAlgorithm;
use sha2::{Sha256, Sha384};

use crate::ek::{Ek, split_tpm2b};

/// The secret, or what the TPM would refuse.
pub(crate) fn activate(ek: &Ek, ak_name: &[u8], id_object: &[u8], secret: &[u8]) -> Result<Vec<u8>, &'static str> {
    let hash = ek.template.name_alg();
    let seed = ek.seed(secret).ok_or("TPM_RC_VALUE: the secret is not for this EK")?;
    let (integrity, identity) = split_tpm2b(id_object).ok_or("TPM_RC_SIZE")?;
    let mac_key = kdfa(hash, &seed, b"INTEGRITY", &[], hash.digest_len());
    if hmac(hash, &mac_key, &[identity, ak_name]) != integrity {
        return Err("TPM_RC_INTEGRITY");
    }
    let mut text = identity.to_vec();
    let key = kdfa(hash, &seed, b"STORAGE", ak_name, usize::from(ek.template.symmetric().key_bits) / 8);
    if key.len() == 16 {
        Decryptor::<Aes128>::new_from_slices(&key, &[0; 16]).expect("a key of 16 bytes").decrypt(&mut text);
    } else {
        Decryptor::<Aes256>::new_from_slices(&key, &[0; 16]).expect("a key of 32 bytes").decrypt(&mut text);
    }
    match split_tpm2b(&text) {
        Some((credential, [])) => Ok(credential.to_vec()),
        _ => Err("TPM_RC_SIZE"),
    }
}

fn hmac(hash: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let all = parts.concat();
    match hash {
        HashAlgorithm::Sha384 => {
            let mut mac = Hmac::<Sha384>::new_from_slice(key).expect("any key");
            mac.update(&all);
            mac.finalize().into_bytes().to_vec()
        }
        _ => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
            mac.update(&all);
            mac.finalize().into_bytes().to_vec()
        }
    }
}

/// One block is enough for every length here: no key is longer than the digest of its template's nameAlg.
fn kdfa(hash: HashAlgorithm, key: &[u8], label: &[u8], context: &[u8], len: usize) -> Vec<u8> {
    let bits = u32::try_from(len * 8).expect("a short key");
    let mut block = hmac(hash, key, &[&1u32.to_be_bytes(), label, &[0], context, &bits.to_be_bytes()]);
    block.truncate(len);
    block
}

/// The seed of an ECC EK: as many bits as its nameAlg has, so one block.
pub(crate) fn kdfe(hash: HashAlgorithm, z: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    hash.digest([1u32.to_be_bytes().as_slice(), z, b"IDENTITY\0", party_u, party_v])
}
