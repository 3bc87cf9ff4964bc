//! Signatures that a thread holds back until it has seen that the token still signs with the key that was meant.
//!
//! A handle can come to mean another key without an error (a vendor's library that mixed handles up, objects that somebody exchanged).
//! Where calls wait, a thread signs several before it answers any; then the last signature of each key is verified, and what was signed
//! before it by the same key through the same session leaves with it. If one does not verify, every one is, and each gets its own answer.
//! Where no call waits, or the token is slow, each signature is verified. What escapes is an exchange that is undone again within one
//! group: nobody trusts what it signed, and nobody loses more than that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use plastron_hsm::{KeyId, KeyStoreError, SignatureScheme};
use tokio::sync::oneshot;

/// Most signatures that wait for one verification: an eighth of its cost is 7 µs for P-256, beside 75 µs and more for the signature.
const GROUP: usize = 8;
/// No answer is held for longer than this, but for the call that is under way: a token that takes milliseconds for a signature has each
/// one verified.
const HELD_FOR: Duration = Duration::from_millis(2);

/// What a token signed, and with what it verifies if the right key did.
pub(crate) struct Signed {
    pub(crate) id: KeyId,
    pub(crate) public_key: Arc<[u8]>,
    pub(crate) scheme: SignatureScheme,
    pub(crate) digest: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Signed {
    fn verifies(&self) -> bool {
        verify(&self.public_key, self.scheme, &self.digest, &self.signature).is_ok()
    }
}

/// A signature and who waits for it.
pub(crate) struct Held {
    pub(crate) signed: Signed,
    pub(crate) store: String,
    pub(crate) answer: oneshot::Sender<Result<Vec<u8>, KeyStoreError>>,
}

impl Held {
    fn deliver(self, verified: bool) {
        let Self { signed, store, answer } = self;
        let outcome = if verified {
            Ok(signed.signature)
        } else {
            let reason =
                "it did not make the signature that the token gave for it; another key stands under its handle";
            Err(KeyStoreError::UnsafeKey { store, id: signed.id, reason: reason.to_owned() })
        };
        // Nobody waits any more after the deadline.
        let _ = answer.send(outcome);
    }
}

/// What one thread holds back.
#[derive(Default)]
pub(crate) struct Group {
    held: Vec<Held>,
    since: Option<Instant>,
}

impl Group {
    pub(crate) fn hold(&mut self, held: Held) {
        self.since.get_or_insert_with(Instant::now);
        self.held.push(held);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether it is to be settled even where calls wait.
    pub(crate) fn is_due(&self) -> bool {
        self.held.len() >= GROUP || self.since.is_some_and(|since| since.elapsed() >= HELD_FOR)
    }

    /// Answers all. False where a signature was not by its key: the session's handles are not to be used again.
    pub(crate) fn settle(&mut self) -> bool {
        self.since = None;
        let held = std::mem::take(&mut self.held);
        let mut seen: Vec<&KeyId> = Vec::new();
        let mut good = true;
        for Held { signed, .. } in held.iter().rev() {
            if !seen.contains(&&signed.id) {
                seen.push(&signed.id);
                good &= signed.verifies();
            }
        }
        for held in held {
            let verified = good || held.signed.verifies();
            held.deliver(verified);
        }
        good
    }
}

/// Verifies a signature over a digest under a SubjectPublicKeyInfo.
pub(crate) fn verify(
    public_key: &[u8],
    scheme: SignatureScheme,
    digest: &[u8],
    signature: &[u8],
) -> Result<(), String> {
    let (verifier, algorithm): (&'static dyn VerificationAlgorithm, _) = match scheme {
        SignatureScheme::EcdsaSha256 => (&ECDSA_P256_SHA256_ASN1, &digest::SHA256),
        SignatureScheme::EcdsaSha384 => (&ECDSA_P384_SHA384_ASN1, &digest::SHA384),
        SignatureScheme::RsaPkcs1Sha256 => (&RSA_PKCS1_2048_8192_SHA256, &digest::SHA256),
        SignatureScheme::RsaPkcs1Sha512 => (&RSA_PKCS1_2048_8192_SHA512, &digest::SHA512),
    };
    let digest = Digest::import_less_safe(digest, algorithm).map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(verifier, public_key)
        .verify_digest(&digest, signature)
        .map_err(|_| "a signature by the private key does not verify under the public key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    type Answer = oneshot::Receiver<Result<Vec<u8>, KeyStoreError>>;

    /// A signature by `signer` that is said to be by `key`.
    fn held(key: &EcdsaKeyPair, signer: &EcdsaKeyPair, id: u8) -> (Held, Answer) {
        let message = [id; 9];
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let signed = Signed {
            id: KeyId::new([id]),
            public_key: der.as_ref().into(),
            scheme: SignatureScheme::EcdsaSha256,
            digest: digest::digest(&digest::SHA256, &message).as_ref().to_vec(),
            signature: signer.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
        };
        let (answer, outcome) = oneshot::channel();
        (Held { signed, store: "t".to_owned(), answer }, outcome)
    }

    fn settle(signatures: Vec<(Held, Answer)>) -> (bool, Vec<bool>) {
        let mut group = Group::default();
        let mut answers = Vec::new();
        for (held, answer) in signatures {
            group.hold(held);
            answers.push(answer);
        }
        let good = group.settle();
        assert!(group.is_empty());
        (good, answers.iter_mut().map(|answer| answer.try_recv().unwrap().is_ok()).collect())
    }

    #[test]
    fn what_the_key_signed_leaves_and_from_an_exchange_on_nothing_does() {
        let pair = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let (key, other) = (pair(), pair());
        let good = || held(&key, &key, 1);
        let bad = || held(&key, &other, 1);
        assert_eq!(settle(vec![good(), good(), good()]), (true, vec![true, true, true]));
        assert_eq!(settle(vec![good(), bad(), bad()]), (false, vec![true, false, false]));
        assert_eq!(settle(vec![bad()]), (false, vec![false]));
        // Another key's good signature at the end vouches for nothing but itself.
        assert_eq!(settle(vec![good(), bad(), held(&other, &other, 2)]), (false, vec![true, false, true]));
        assert_eq!(settle(vec![held(&other, &key, 2), good()]), (false, vec![false, true]));
        assert_eq!(settle(Vec::new()), (true, Vec::new()));
    }

    #[test]
    fn a_group_is_due_when_it_is_full_or_old() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let mut group = Group::default();
        assert!(!group.is_due());
        let mut answers = Vec::new();
        for _ in 0..GROUP {
            let (held, answer) = held(&key, &key, 1);
            group.hold(held);
            answers.push(answer);
        }
        assert!(group.is_due());
        group.settle();
        assert!(!group.is_due());
        let (held, _answer) = held(&key, &key, 1);
        group.hold(held);
        std::thread::sleep(HELD_FOR);
        assert!(group.is_due());
    }
}
