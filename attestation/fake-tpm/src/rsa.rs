//! RSA keys: one at a time, or a whole fleet's from a few primes.
//!
//! Making an RSA-2048 key takes a tenth of a second, a thousand of them minutes. From 46 primes come 1,035 different moduli, each the
//! product of two, in a few milliseconds each. Whoever has two such moduli finds their primes by a greatest common divisor, so these
//! keys are as weak as keys can be and still have the right form: for load only, and nothing in the verifier tells them apart.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use crypto_bigint::{BoxedUint, ConcatenatingMul, NonZero, Odd, Resize};

/// AlgorithmIdentifier of rsaEncryption with NULL parameters (RFC 8017, appendix A.1), DER.
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The public exponent of every TPM's RSA keys.
const EXPONENT: u64 = 65_537;

/// Where RSA keys come from: by default each has primes of its own. A copy takes from the same pairs.
#[derive(Clone, Default)]
pub(crate) struct RsaKeys {
    shared: Vec<Arc<Mutex<SharedPrimes>>>,
}

impl RsaKeys {
    /// The first `count` keys of `bits` bits come from shared primes too.
    pub(crate) fn share(&mut self, count: usize, bits: u16) {
        if count > 0 {
            self.shared.push(Arc::new(Mutex::new(SharedPrimes::for_keys(count, bits))));
        }
    }

    /// The next key of this size, PKCS #8.
    pub(crate) fn next(&self, bits: u16) -> Vec<u8> {
        let locked = self.shared.iter().map(|shared| shared.lock().expect("nothing panics while it holds the lock"));
        locked
            .filter(|shared| shared.bits == bits)
            .find_map(|mut shared| shared.next())
            .unwrap_or_else(|| generate(bits))
    }
}

/// Primes, and which pair of them is next.
struct SharedPrimes {
    bits: u16,
    primes: Vec<BoxedUint>,
    next: (usize, usize),
}

impl SharedPrimes {
    /// As many primes as that many keys need.
    fn for_keys(count: usize, bits: u16) -> Self {
        let mut primes = Vec::new();
        while primes.len() * primes.len().saturating_sub(1) / 2 < count {
            primes.extend(primes_of(&generate(bits)));
        }
        Self { bits, primes, next: (0, 1) }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let (first, second) = self.next;
        let (p, q) = (self.primes.get(first)?, self.primes.get(second)?);
        self.next = if second + 1 < self.primes.len() { (first, second + 1) } else { (first + 1, first + 2) };
        Some(private_key(p, q, self.bits))
    }
}

/// A key of its own, PKCS #8.
fn generate(bits: u16) -> Vec<u8> {
    let size = if bits == 3072 { KeySize::Rsa3072 } else { KeySize::Rsa2048 };
    let key = KeyPair::generate(size).expect("an RSA key");
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("its encoding");
    pkcs8.as_ref().to_vec()
}

/// The two primes of a key, PKCS #8: the fifth and sixth integer of its RSAPrivateKey.
fn primes_of(pkcs8: &[u8]) -> Vec<BoxedUint> {
    let (info, _) = open(0x30, pkcs8);
    let (_version, rest) = open(0x02, info);
    let (_algorithm, rest) = open(0x30, rest);
    let (octets, _) = open(0x04, rest);
    let (mut integers, _) = open(0x30, octets);
    let mut numbers = Vec::new();
    while !integers.is_empty() {
        let (number, rest) = open(0x02, integers);
        numbers.push(BoxedUint::from_be_slice_vartime(number));
        integers = rest;
    }
    numbers.drain(4..6).collect()
}

/// RSAPrivateKey (RFC 8017, appendix A.1.2) in PKCS #8.
fn private_key(p: &BoxedUint, q: &BoxedUint, bits: u16) -> Vec<u8> {
    let one = |like: &BoxedUint| BoxedUint::from(1u64).resize(like.bits_precision());
    let (p_less, q_less) = (p.wrapping_sub(one(p)), q.wrapping_sub(one(q)));
    let half = u32::from(bits) / 2;
    let modulus = p.concatenating_mul(q);
    let d = inverse_of_exponent(&p_less.concatenating_mul(&q_less));
    let odd = Odd::new(p.clone().resize(half)).expect("a prime is odd");
    let coefficient = q.clone().resize(half).invert_odd_mod(&odd).expect("two different primes");
    let numbers = [
        &modulus,
        &BoxedUint::from(EXPONENT),
        &d,
        p,
        q,
        &inverse_of_exponent(&p_less),
        &inverse_of_exponent(&q_less),
        &coefficient,
    ];
    let integers: Vec<Vec<u8>> = numbers.iter().map(|number| integer(&number.to_be_bytes_trimmed_vartime())).collect();
    let key = [integer(&[0]), integers.concat()].concat();
    let info = [integer(&[0]), RSA_ENCRYPTION.to_vec(), tlv(0x04, &tlv(0x30, &key))].concat();
    tlv(0x30, &info)
}

/// e⁻¹ modulo m: (1 + k·m) / e, where k is what makes that a whole number.
fn inverse_of_exponent(m: &BoxedUint) -> BoxedUint {
    let wide = m.bits_precision() + 64;
    let m = m.clone().resize(wide);
    let e = NonZero::new(BoxedUint::from(EXPONENT).resize(wide)).expect("not zero");
    let remainder = m.rem_vartime(&e).to_be_bytes_trimmed_vartime();
    let remainder = remainder.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let k = (1..EXPONENT).find(|k| (1 + k * remainder) % EXPONENT == 0).expect("e is prime and does not divide m");
    let numerator =
        m.concatenating_mul(BoxedUint::from(k)).resize(wide).wrapping_add(BoxedUint::from(1u64).resize(wide));
    numerator.div_rem_vartime(&e).0
}

/// The content of a DER element with this tag, and what follows it.
fn open(tag: u8, der: &[u8]) -> (&[u8], &[u8]) {
    let (head, length) = match der {
        [got, short, ..] if *got == tag && *short < 0x80 => (2, usize::from(*short)),
        [got, 0x81, length, ..] if *got == tag => (3, usize::from(*length)),
        [got, 0x82, high, low, ..] if *got == tag => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => (0, 0),
    };
    let (element, rest) = der.split_at(head + length);
    (element.get(head..).expect("a key that aws-lc wrote"), rest)
}

fn integer(number: &[u8]) -> Vec<u8> {
    let sign = if number.first().is_none_or(|byte| byte & 0x80 != 0) { &[0][..] } else { &[] };
    tlv(0x02, &[sign, number].concat())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a key under 64 KiB");
    let mut tlv = vec![tag];
    match length.to_be_bytes() {
        [0, short] if short < 0x80 => tlv.push(short),
        [0, long] => tlv.extend([0x81, long]),
        [high, low] => tlv.extend([0x82, high, low]),
    }
    tlv.extend_from_slice(value);
    tlv
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::KeyPair as _;
    use std::collections::HashSet;

    #[test]
    fn keys_of_shared_primes_are_valid_and_different() {
        let mut keys = RsaKeys::default();
        keys.share(6, 2048);
        let moduli: HashSet<Vec<u8>> = (0..6)
            .map(|_| {
                let key =
                    KeyPair::from_pkcs8(&keys.next(2048)).expect("aws-lc checks the key's parts against each other");
                key.public_key().modulus().big_endian_without_leading_zero().to_vec()
            })
            .collect();
        assert_eq!(moduli.len(), 6);
        assert!(moduli.iter().all(|modulus| modulus.len() == 256 && modulus[0] & 0x80 != 0));
    }
}
