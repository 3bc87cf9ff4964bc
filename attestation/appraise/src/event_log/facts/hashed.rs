//! Whether bytes are what an event's digests were made of. Every bank of the log has to agree: a text that matches in one bank and not
//! in another was never measured. SHA-1 is asked only where the log has nothing else: beside another bank it proves nothing that the
//! other does not, and its PCR values are replayed all the same.

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::RawEvent;

/// Whether the digests of the event are those of `parts`, one after the other, in every bank but a SHA-1 bank that is not alone. An
/// event that lacks a bank, or a log without any, has no text that was hashed.
pub(super) fn matches(event: &RawEvent<'_>, banks: &[HashAlgorithm], parts: &[&[u8]]) -> bool {
    let sha1_alone = banks.iter().all(|bank| *bank == HashAlgorithm::Sha1);
    let mut asked = banks.iter().filter(|bank| sha1_alone || **bank != HashAlgorithm::Sha1);
    !banks.is_empty()
        && asked.all(|bank| event.digest(*bank).is_some_and(|digest| digest == hash(*bank, parts).as_ref()))
}

fn hash(bank: HashAlgorithm, parts: &[&[u8]]) -> digest::Digest {
    // Most events are hashed whole, which needs no context on the heap.
    if let [whole] = parts {
        return digest::digest(algorithm(bank), whole);
    }
    let mut context = digest::Context::new(algorithm(bank));
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn algorithm(bank: HashAlgorithm) -> &'static Algorithm {
    match bank {
        HashAlgorithm::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => &SHA256,
        HashAlgorithm::Sha384 => &SHA384,
        HashAlgorithm::Sha512 => &SHA512,
    }
}

/// A text that matters under whatever type it is logged: its digests, made once for a log.
pub(super) struct Recognised {
    digests: Vec<(HashAlgorithm, digest::Digest)>,
}

impl Recognised {
    pub(super) fn new(banks: &[HashAlgorithm], text: &[u8]) -> Self {
        Self { digests: banks.iter().map(|bank| (*bank, hash(*bank, &[text]))).collect() }
    }

    /// Whether it was measured, in every bank.
    pub(super) fn is(&self, event: &RawEvent<'_>) -> bool {
        !self.digests.is_empty()
            && self.digests.iter().all(|(bank, digest)| event.digest(*bank) == Some(digest.as_ref()))
    }

    /// Whether some bank says that it was measured.
    pub(super) fn is_in_some_bank(&self, event: &RawEvent<'_>) -> bool {
        self.digests.iter().any(|(bank, digest)| event.digest(*bank) == Some(digest.as_ref()))
    }
}
