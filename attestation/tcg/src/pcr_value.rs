//! The value of one PCR, and its extension (TPM 2.0 Library part 1, section 17.2), without an allocation.

use std::fmt;

use sha2::Digest;

use crate::HashAlgorithm;

/// Length of the longest digest.
const MAX_DIGEST_LEN: usize = 64;

/// What a PCR holds in one bank.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PcrValue {
    bank: HashAlgorithm,
    /// The first `bank.digest_len()` of these; the others stay zero.
    bytes: [u8; MAX_DIGEST_LEN],
}

impl PcrValue {
    /// All zeros: what most PCRs hold after a reset.
    pub fn zero(bank: HashAlgorithm) -> Self {
        Self { bank, bytes: [0; MAX_DIGEST_LEN] }
    }

    /// What PCR 0 holds after TPM2_Startup from this locality: zeros, and the locality in the last byte.
    pub fn after_startup(bank: HashAlgorithm, locality: u8) -> Self {
        let mut value = Self::zero(bank);
        if let Some(last) = value.bytes.get_mut(..bank.digest_len()).and_then(<[u8]>::last_mut) {
            *last = locality;
        }
        value
    }

    /// TPM2_PCR_Extend: the hash of what is there and of `digest` takes its place.
    pub fn extend(&mut self, digest: &[u8]) {
        match self.bank {
            HashAlgorithm::Sha1 => self.replace(&hash::<sha1::Sha1>(self.as_bytes(), digest)),
            HashAlgorithm::Sha256 => self.replace(&hash::<sha2::Sha256>(self.as_bytes(), digest)),
            HashAlgorithm::Sha384 => self.replace(&hash::<sha2::Sha384>(self.as_bytes(), digest)),
            HashAlgorithm::Sha512 => self.replace(&hash::<sha2::Sha512>(self.as_bytes(), digest)),
        }
    }

    /// The bank.
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// As many bytes as the bank's digests have.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.bank.digest_len()).unwrap_or_default()
    }

    /// Whether every byte is zero.
    pub fn is_zero(&self) -> bool {
        self.bytes == [0; MAX_DIGEST_LEN]
    }

    fn replace(&mut self, value: &[u8]) {
        for (byte, new) in self.bytes.iter_mut().zip(value) {
            *byte = *new;
        }
    }
}

impl fmt::Debug for PcrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.bank)?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hash<D: Digest>(value: &[u8], digest: &[u8]) -> sha2::digest::Output<D> {
    D::new().chain_update(value).chain_update(digest).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_hashes_the_old_value_and_the_digest() {
        for bank in HashAlgorithm::ALL {
            let mut value = PcrValue::after_startup(bank, 3);
            let mut first = vec![0; bank.digest_len()];
            assert!(!value.is_zero() && PcrValue::zero(bank).is_zero());
            *first.last_mut().unwrap() = 3;
            assert_eq!(value.as_bytes(), first);
            value.extend(&[7; 20]);
            assert_eq!(value.as_bytes(), bank.digest([first.as_slice(), &[7; 20]]));
        }
    }
}
