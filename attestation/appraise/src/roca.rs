//! RSA keys of CVE-2017-15361 (ROCA): Infineon's library made primes of so few forms that their product gives itself away.

/// The primes whose residues give a ROCA modulus away (Nemec et al., 2017): its residue is a power of 65537 modulo each.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the residue of a modulus is a power of 65537 modulo every prime. A modulus of another origin is so by chance once in
/// 2^27.
pub(crate) fn is_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let generator = 65537 % prime;
        let mut power = 1;
        loop {
            if power == residue {
                return true;
            }
            power = power * generator % prime;
            if power <= 1 {
                return false;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_65537_modulo_every_prime_is_found() {
        // 65537 squared, and one that is 2 modulo 11, which no power of 65537 is.
        assert!(is_roca(&(65537u64 * 65537).to_be_bytes()));
        assert!(!is_roca(&[2]));
        assert!(!is_roca(&[]));
    }
}
