//! With what Linux extends a bank, which its version and its crypto modules decide.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::ima::ImaEntry;

/// Bytes of a SHA-1 digest.
const SHA1_LEN: usize = 20;

/// How entries became digests of one bank. It is the same for every entry of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The bank's own hash of the template data, and 0xff throughout for a violation: Linux 5.8 and later, and SHA-1 always.
    Hashed,
    /// The SHA-1 template digest with zeros behind it, and 0xff throughout for a violation: a bank whose hash function the kernel had
    /// not loaded when IMA began (sha384 and sha512 on Linux 6.1).
    Padded,
    /// The SHA-1 template digest, or for a violation 20 bytes 0xff, with zeros behind it: Linux before 5.8.
    PaddedThroughout,
}

impl Extension {
    /// All that a bank can have.
    pub(super) fn of_bank(bank: HashAlgorithm) -> &'static [Self] {
        match bank {
            HashAlgorithm::Sha1 => &[Self::Hashed],
            HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => {
                &[Self::Hashed, Self::Padded, Self::PaddedThroughout]
            }
        }
    }

    /// `hashed`, `padded` or `padded throughout`: as in verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::Padded => "padded",
            Self::PaddedThroughout => "padded throughout",
        }
    }

    /// The digest that an entry extends this bank with. `hashed` is the bank's hash of its template data, `sha1` SHA-1's.
    pub(super) fn digest(self, entry: &ImaEntry<'_>, hashed: &[u8], sha1: &[u8]) -> Vec<u8> {
        let len = hashed.len();
        let padded = |bytes: &[u8]| {
            let mut digest = bytes.to_vec();
            digest.resize(len, 0);
            digest
        };
        match (self, entry.is_violation()) {
            (Self::Hashed, false) => hashed.to_vec(),
            (Self::Hashed | Self::Padded, true) => vec![0xff; len],
            (Self::Padded | Self::PaddedThroughout, false) => padded(sha1),
            (Self::PaddedThroughout, true) => padded(&[0xff; SHA1_LEN]),
        }
    }
}
