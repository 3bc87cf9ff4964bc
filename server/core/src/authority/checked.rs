//! No signature is used that the authority's own public key does not verify.
//!
//! A key store that keeps its keys elsewhere is asked by an identifier, and what answers is a handle in a vendor's library, a device, or
//! another process. When a handle comes to mean another key (after a reset, or because somebody exchanged the objects), such a store signs
//! on without an error, and relying parties would get SVIDs that nothing in the bundle verifies. So each signature of such a store is
//! verified before what it stands under leaves: `docs/adr/0010-signatures-are-checked.md` says what that costs. Not checked here are a key in
//! this process's own memory, which is one object with its public key, and a PKCS#11 token's, whose store does it itself for several calls at
//! once and answers none before.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use plastron_hsm::{SignatureScheme, StoreIdentity};

use super::proof::{AuthorityError, MatchedKey};
use super::signing::{SigningAuthority, SigningUse};

/// Kinds of key stores that give no signature away but by the key that was meant.
const VOUCHED_FOR: [&str; 3] = ["memory", "disk", "pkcs11"];

/// A signature by the key of an authority and by no other.
#[derive(Debug)]
pub struct CheckedSignature(Vec<u8>);

impl CheckedSignature {
    /// The signature as the key store made it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<U: SigningUse> SigningAuthority<U> {
    /// Takes what a key store signed this digest with, by [`SigningAuthority::scheme`], for this authority's signature if it is that.
    pub fn check(
        &self,
        store: &StoreIdentity,
        digest: &[u8],
        signature: Vec<u8>,
    ) -> Result<CheckedSignature, AuthorityError> {
        self.matched_key().check(store, self.scheme(), digest, signature)
    }
}

impl MatchedKey {
    fn check(
        &self,
        store: &StoreIdentity,
        scheme: SignatureScheme,
        digest: &[u8],
        signature: Vec<u8>,
    ) -> Result<CheckedSignature, AuthorityError> {
        if VOUCHED_FOR.contains(&store.kind) {
            return Ok(CheckedSignature(signature));
        }
        let slot = self.slot();
        let (algorithm, hash): (&dyn VerificationAlgorithm, _) = match scheme {
            SignatureScheme::EcdsaSha256 => (&ECDSA_P256_SHA256_ASN1, &digest::SHA256),
            SignatureScheme::EcdsaSha384 => (&ECDSA_P384_SHA384_ASN1, &digest::SHA384),
            SignatureScheme::RsaPkcs1Sha256 => (&RSA_PKCS1_2048_8192_SHA256, &digest::SHA256),
            SignatureScheme::RsaPkcs1Sha512 => (&RSA_PKCS1_2048_8192_SHA512, &digest::SHA512),
        };
        let foreign = |_unspecified| AuthorityError::ForeignSignature { slot };
        let digest = Digest::import_less_safe(digest, hash).map_err(foreign)?;
        UnparsedPublicKey::new(algorithm, &self.record().public_key)
            .verify_digest(&digest, &signature)
            .map_err(foreign)?;
        Ok(CheckedSignature(signature))
    }
}
