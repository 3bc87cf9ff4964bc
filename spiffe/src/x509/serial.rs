//! Certificate serial numbers (RFC 5280, section 4.1.2.2).

use std::fmt;

/// A certificate serial number: positive, non-zero, at most 20 octets.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// Longest serial number, in octets.
    pub const MAX_LEN: usize = 20;

    /// From 16 random octets; the top bit is cleared and a zero is avoided.
    pub fn from_random(octets: [u8; 16]) -> Self {
        let value = (u128::from_be_bytes(octets) & (u128::MAX >> 1)).max(1);
        Self(strip(&value.to_be_bytes()).to_vec())
    }

    /// From the octets that a store kept or `X509Svid::serial` gave; `None` where they are no serial number of ours: empty, zero,
    /// over 20 octets, or with leading zeros.
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        match octets.first() {
            Some(&first) if first != 0 && octets.len() <= Self::MAX_LEN => Some(Self(octets.to_vec())),
            _ => None,
        }
    }

    /// Big-endian octets without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decimal, as SPIRE's API and command line print it.
    pub fn to_decimal(&self) -> String {
        // Long division by ten: at most 20 octets, so at most 49 digits.
        let mut rest = self.0.clone();
        let mut digits = Vec::new();
        while rest.iter().any(|octet| *octet != 0) {
            let mut remainder = 0u16;
            for octet in &mut rest {
                let value = remainder << 8 | u16::from(*octet);
                // The remainder is below 10, so the quotient is below 256.
                *octet = u8::try_from(value / 10).unwrap_or(u8::MAX);
                remainder = value % 10;
            }
            digits.push(char::from_digit(u32::from(remainder), 10).unwrap_or('0'));
        }
        digits.iter().rev().collect()
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_decimal())
    }
}

/// Octets without leading zeros.
pub(super) fn strip(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_serial_is_positive_and_never_zero() {
        assert_eq!(SerialNumber::from_random([0; 16]).as_bytes(), [1]);
        assert_eq!(SerialNumber::from_random([0xff; 16]).as_bytes().first(), Some(&0x7f));
        let mut octets = [0; 16];
        octets[0] = 0x80;
        assert_eq!(SerialNumber::from_random(octets).as_bytes(), [1]);
    }

    #[test]
    fn decimal() {
        for value in [1u128, 9, 10, 255, 256, 12_345_678_901_234_567_890, u128::MAX >> 1] {
            assert_eq!(SerialNumber::from_random(value.to_be_bytes()).to_decimal(), value.to_string());
        }
        let twenty = SerialNumber::from_bytes(&[0xff; 20]).unwrap();
        assert_eq!(twenty.to_string(), "1461501637330902918203684832716283019655932542975");
    }

    #[test]
    fn what_is_no_serial_number_is_refused() {
        for octets in [&[][..], &[0], &[0, 1], &[1; 21]] {
            assert_eq!(SerialNumber::from_bytes(octets), None);
        }
        assert_eq!(SerialNumber::from_bytes(&[1, 0]).unwrap().as_bytes(), [1, 0]);
    }
}
