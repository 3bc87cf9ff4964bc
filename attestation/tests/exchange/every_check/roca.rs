//! A modulus that looks as those of the ROCA family do.

pub(super) fn modulus() -> Vec<u8> {
    let is_prime = |n: &u32| (2..*n).all(|divisor| !n.is_multiple_of(divisor));
    // Little-endian product of the odd primes up to 167, moved up until its top bit is bit 2047, plus one.
    let mut product = vec![1u8];
    for prime in (3..=167).filter(is_prime) {
        multiply(&mut product, prime);
    }
    while product.last().unwrap() & 0x80 == 0 {
        multiply(&mut product, 2);
    }
    let mut modulus = vec![0; 256 - product.len()];
    modulus.extend(product);
    modulus[0] |= 1;
    modulus.reverse();
    modulus
}

fn multiply(number: &mut Vec<u8>, by: u32) {
    let mut carry = 0;
    for byte in number.iter_mut() {
        let value = u32::from(*byte) * by + carry;
        *byte = value.to_le_bytes()[0];
        carry = value >> 8;
    }
    if carry > 0 {
        number.push(carry.to_le_bytes()[0]);
    }
}
