//! Credential activation: TPM2_MakeCredential in software (TPM 2.0 Library part 1, section 24), and the proof that its secret came
//! back. Only a TPM that holds both the EK and an object of the AK's Name can recover the secret.

use aes::{Aes128, Aes256};
use aws_lc_rs::agreement;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey};
use cfb_mode::Encryptor;
use cfb_mode::cipher::KeyIvInit;
use plastron_attestation_tcg::algorithm::{ALG_AES, ALG_CFB};
use plastron_attestation_tcg::{EccCurve, HashAlgorithm, PublicKey, QualifiedName, TpmtPublic, left_pad, sec1_point};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::kdf::{hmac, kdfa, kdfe};
use super::{AcceptableAk, AkOrigin, BoundAk};
use crate::fingerprint::encode_spki;
use crate::{AppraiseError, Check, Checklist, EkFingerprint, TrustedEk};

/// Length of the secret: no EK's nameAlg is shorter.
pub const CREDENTIAL_LEN: usize = 32;

/// Length of the random seed: as long as the longest nameAlg that an EK template has, and as a P-384 scalar.
const SEED_LEN: usize = 48;

/// Label of the seed's encryption, with its terminating zero (part 1, section 24.4).
const IDENTITY: &str = "IDENTITY";
const OAEP_LABEL: &[u8] = b"IDENTITY\0";

/// Randomness for one credential, from the caller's generator. OAEP's own padding is drawn inside aws-lc.
pub struct CredentialEntropy {
    /// The secret.
    pub secret: Zeroizing<[u8; CREDENTIAL_LEN]>,
    /// The seed of an RSA EK's credential, or the ephemeral scalar of an EC one's.
    pub seed: Zeroizing<[u8; SEED_LEN]>,
}

/// A credential for one EK and one Name. Its parts go to TPM2_ActivateCredential, without their TPM2B sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeCredential {
    /// TPMS_ID_OBJECT.
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET's buffer.
    pub encrypted_secret: Vec<u8>,
}

/// A credential that waits to be activated, once.
pub struct PendingActivation {
    secret: Zeroizing<[u8; CREDENTIAL_LEN]>,
    ak: AcceptableAk,
    ek: EkFingerprint,
    ek_qualified_name: QualifiedName,
}

impl PendingActivation {
    /// Makes a credential. The AK's attributes were checked before, as its type says.
    pub fn make(
        ek: &TrustedEk,
        ak: AcceptableAk,
        entropy: CredentialEntropy,
    ) -> Result<(Self, MadeCredential), AppraiseError> {
        let CredentialEntropy { secret, seed } = entropy;
        let credential = make_credential(&TpmtPublic::parse(ek.public())?, ak.name().as_bytes(), &*secret, &seed)?;
        let pending = Self { secret, ak, ek: ek.fingerprint(), ek_qualified_name: ek.qualified_name().clone() };
        Ok((pending, credential))
    }

    /// Gives up the secret for what came back, compared in constant time.
    pub fn activated(self, returned: &[u8], checks: &mut Checklist) -> Result<BoundAk, AppraiseError> {
        if !bool::from(self.secret.as_slice().ct_eq(returned)) {
            return Err(AppraiseError::CredentialMismatch);
        }
        checks.pass(Check::AkActivated, format!("AK {}", self.ak.name()));
        BoundAk::bind(self.ek, &self.ek_qualified_name, self.ak, AkOrigin::Activated)
    }

    /// The AK that the credential is for.
    pub fn ak(&self) -> &AcceptableAk {
        &self.ak
    }
}

fn make_credential(
    ek: &TpmtPublic<'_>,
    ak_name: &[u8],
    secret: &[u8],
    entropy: &[u8; SEED_LEN],
) -> Result<MadeCredential, AppraiseError> {
    let refused = |reason| AppraiseError::MakeCredential { reason };
    let hash = ek.name_alg;
    let symmetric = ek.symmetric.ok_or_else(|| refused("it is no storage key"))?;
    if symmetric.algorithm != ALG_AES || symmetric.mode != ALG_CFB {
        return Err(refused("its symmetric algorithm is not AES in CFB mode"));
    }
    let hash_bits = u32::try_from(hash.digest_len() * 8).map_err(|_| refused("its nameAlg has no length"))?;
    let (seed, encrypted_secret) = match &ek.key {
        PublicKey::Rsa { .. } => rsa_seed(&ek.key, hash, entropy)?,
        PublicKey::Ecc { curve, x, y } => ecc_seed(*curve, x, y, hash, hash_bits, entropy)?,
    };
    let key = kdfa(hash, &seed, "STORAGE", ak_name, &[], symmetric.key_bits.into())?;
    let identity = encrypt(&key, &tpm2b(secret)).ok_or_else(|| refused("its AES key size is neither 128 nor 256"))?;
    let mac_key = kdfa(hash, &seed, "INTEGRITY", &[], &[], hash_bits)?;
    let integrity = hmac(hash, &mac_key, &[&identity, ak_name])?;
    let mut id_object = tpm2b(&integrity).to_vec();
    id_object.extend(identity);
    Ok(MadeCredential { id_object, encrypted_secret })
}

type Seed = (Zeroizing<Vec<u8>>, Vec<u8>);

/// A seed as long as the nameAlg, encrypted by OAEP with the nameAlg and the label `IDENTITY\0`.
fn rsa_seed(key: &PublicKey<'_>, hash: HashAlgorithm, entropy: &[u8; SEED_LEN]) -> Result<Seed, AppraiseError> {
    let refused = |reason| AppraiseError::MakeCredential { reason };
    let oaep = match hash {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha1 | HashAlgorithm::Sha512 => return Err(refused("no OAEP with its nameAlg")),
    };
    let seed = entropy.get(..hash.digest_len()).ok_or_else(|| refused("too little randomness"))?;
    let encrypted = PublicEncryptingKey::from_der(&encode_spki(key)?)
        .map_err(|_| ())
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(|_| ()))
        .and_then(|key| {
            let mut encrypted = vec![0; key.ciphertext_size()];
            let len = key.encrypt(oaep, seed, &mut encrypted, Some(OAEP_LABEL)).map_err(|_| ())?.len();
            encrypted.truncate(len);
            Ok(encrypted)
        })
        .map_err(|()| refused("RSA-OAEP does not work with its key"))?;
    Ok((Zeroizing::new(seed.to_vec()), encrypted))
}

/// A seed derived by KDFe from an ephemeral key agreement with the EK; the ephemeral point is what is sent.
fn ecc_seed(
    curve: EccCurve,
    x: &[u8],
    y: &[u8],
    hash: HashAlgorithm,
    hash_bits: u32,
    entropy: &[u8; SEED_LEN],
) -> Result<Seed, AppraiseError> {
    let refused = |reason| AppraiseError::MakeCredential { reason };
    let algorithm = match curve {
        EccCurve::P256 => &agreement::ECDH_P256,
        EccCurve::P384 => &agreement::ECDH_P384,
    };
    let len = curve.field_len();
    let scalar = entropy.get(..len).ok_or_else(|| refused("too little randomness"))?;
    let ephemeral = agreement::PrivateKey::from_private_key(algorithm, scalar)
        .map_err(|_| refused("the random scalar is out of range"))?;
    let public = ephemeral.compute_public_key().map_err(|_| refused("the ephemeral key has no public part"))?;
    let point = public.as_ref();
    let (Some(ephemeral_x), Some(ephemeral_y)) = (point.get(1..1 + len), point.get(1 + len..)) else {
        return Err(refused("the ephemeral key has no public part"));
    };
    let ek_point = sec1_point(curve, x, y).ok_or_else(|| refused("it is not a point"))?;
    let ek_x = left_pad(x, len).ok_or_else(|| refused("it is not a point"))?;
    let seed = agreement::agree(
        &ephemeral,
        agreement::UnparsedPublicKey::new(algorithm, ek_point),
        refused("key agreement does not work with its key"),
        |z| kdfe(hash, z, IDENTITY, ephemeral_x, &ek_x, hash_bits),
    )?;
    let mut sent = tpm2b(ephemeral_x).to_vec();
    sent.extend_from_slice(&tpm2b(ephemeral_y));
    Ok((seed, sent))
}

/// AES-CFB with a zero IV; the key is used once.
fn encrypt(key: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let mut text = plaintext.to_vec();
    let iv = [0; 16];
    match key.len() {
        16 => Encryptor::<Aes128>::new_from_slices(key, &iv).ok()?.encrypt(&mut text),
        32 => Encryptor::<Aes256>::new_from_slices(key, &iv).ok()?.encrypt(&mut text),
        _ => return None,
    }
    Some(text)
}

/// With a 16-bit size. What is wrapped here is a digest, a coordinate or the secret: 64 bytes at most.
fn tpm2b(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut sized = Zeroizing::new(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec());
    sized.extend_from_slice(bytes);
    sized
}
