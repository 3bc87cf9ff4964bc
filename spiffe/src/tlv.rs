//! Writes DER by concatenation (X.690, section 10.1). Only certificates that we issue are built with it: it encodes and never parses.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const UTF8_STRING: u8 = 0x0c;

/// `[n] EXPLICIT`.
pub(crate) const fn explicit(n: u8) -> u8 {
    0xa0 | n
}

/// `[n] IMPLICIT` of a primitive type.
pub(crate) const fn implicit(n: u8) -> u8 {
    0x80 | n
}

/// One element whose value is the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len + 10);
    out.push(tag);
    push_len(&mut out, len);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn push_len(out: &mut Vec<u8>, len: usize) {
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let octets = len.to_be_bytes();
            let significant = octets.iter().skip_while(|octet| **octet == 0);
            // A length has at most size_of::<usize>() = 8 octets, so the count fits.
            out.push(0x80 | significant.clone().count().to_be_bytes().last().copied().unwrap_or_default());
            out.extend(significant);
        }
    }
}

/// A positive INTEGER from big-endian octets.
pub(crate) fn positive_integer(octets: &[u8]) -> Vec<u8> {
    match octets.first() {
        Some(first) if *first < 0x80 => tlv(INTEGER, &[octets]),
        _ => tlv(INTEGER, &[&[0], octets]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, head) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (255, vec![4, 0x81, 255]),
            (256, vec![4, 0x82, 1, 0]),
            (65_536, vec![4, 0x83, 1, 0, 0]),
        ] {
            let der = tlv(OCTET_STRING, &[&vec![7; len]]);
            assert_eq!(der.get(..head.len()), Some(head.as_slice()));
            assert_eq!(der.len(), head.len() + len);
        }
    }

    #[test]
    fn integers_stay_positive() {
        assert_eq!(positive_integer(&[0x7f]), [2, 1, 0x7f]);
        assert_eq!(positive_integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(positive_integer(&[]), [2, 1, 0]);
    }
}
