//! The Huffman code of RFC 7541, section 5.2 and appendix B: read, and overwritten in place with codes of the same length.
//!
//! The code is canonical, so the lengths of its codes say all: codes of one length are consecutive, in the order of their symbols.

use super::hpack::{is_plain, is_valid};

/// Length of each symbol's code in bits; the last one is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const LONGEST: usize = 30;
const EOS: u16 = 256;

struct Code {
    /// First code of each length.
    first: [u32; LONGEST + 1],
    /// Number of codes of each length.
    count: [u32; LONGEST + 1],
    /// Symbols by length, then by value.
    symbols: [u16; 257],
    /// Code of each symbol.
    codes: [u32; 257],
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, where `From` is not available; symbols are below 257"
)]
const CODE: Code = {
    let mut code = Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], symbols: [0; 257], codes: [0; 257] };
    let (mut next, mut placed, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                code.codes[symbol] = next;
                code.count[length] += 1;
                placed += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
};

/// Calls `each` with every symbol and the position of its first bit. `None` on what section 5.2 calls an error: EOS, or padding that
/// is not fewer than eight one-bits.
fn walk(octets: &[u8], mut each: impl FnMut(u8, usize)) -> Option<()> {
    let bits = octets.len() * 8;
    let mut at = 0;
    while at < bits {
        let (mut code, mut length, mut below) = (0u32, 0, 0usize);
        let symbol = loop {
            if at + length == bits {
                return (length < 8 && code == (1 << length) - 1).then_some(());
            }
            code = code << 1 | u32::from(bit(octets, at + length)?);
            length += 1;
            let (first, count) = (*CODE.first.get(length)?, *CODE.count.get(length)?);
            match code.checked_sub(first) {
                Some(offset) if offset < count => break *CODE.symbols.get(below + usize::try_from(offset).ok()?)?,
                _ => below += usize::try_from(count).ok()?,
            }
        };
        if symbol == EOS {
            return None;
        }
        each(u8::try_from(symbol).ok()?, at);
        at += length;
    }
    Some(())
}

fn bit(octets: &[u8], at: usize) -> Option<bool> {
    Some(octets.get(at / 8)? & (0x80 >> (at % 8)) != 0)
}

/// The text, or `None` where it is malformed.
pub(super) fn decode(octets: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(octets.len() * 2);
    walk(octets, |symbol, _| text.push(symbol))?;
    Some(text)
}

/// A character that an authority may have, with a code as long as that of `octet`.
fn partner(octet: u8) -> Option<u8> {
    match LENGTHS.get(usize::from(octet))? {
        5 => Some(b'o'),
        6 => Some(b'-'),
        7 => Some(b'w'),
        8 => Some(b'X'),
        10 => Some(b'!'),
        11 => Some(b'+'),
        13 => Some(b'~'),
        _ => None,
    }
}

/// Overwrites the codes of characters that make the authority invalid.
pub(super) fn make_valid(octets: &mut [u8]) {
    let mut symbols = Vec::new();
    if walk(octets, |symbol, at| symbols.push((symbol, at))).is_none() {
        return;
    }
    if is_valid(&symbols.iter().map(|(symbol, _)| *symbol).collect::<Vec<_>>()) {
        return;
    }
    for (symbol, at) in symbols {
        if is_plain(symbol) {
            continue;
        }
        let Some(partner) = partner(symbol).map(usize::from) else { continue };
        let (Some(code), Some(length)) = (CODE.codes.get(partner), LENGTHS.get(partner).copied().map(usize::from))
        else {
            continue;
        };
        for offset in 0..length {
            let one = code >> (length - 1 - offset) & 1 == 1;
            if let Some(octet) = octets.get_mut((at + offset) / 8) {
                let mask = 0x80 >> ((at + offset) % 8);
                *octet = if one { *octet | mask } else { *octet & !mask };
            }
        }
    }
}

/// The code of a text, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for octet in text {
        let (code, length) = (CODE.codes[usize::from(*octet)], LENGTHS[usize::from(*octet)]);
        bits.extend((0..length).rev().map(|shift| code >> shift & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8).map(|octet| octet.iter().fold(0, |value, bit| value << 1 | u8::from(*bit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.4.
    #[test]
    fn vectors_of_the_rfc() {
        for (text, octets) in [
            ("www.example.com", [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff].as_slice()),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("custom-value", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]),
        ] {
            assert_eq!(decode(octets).unwrap(), text.as_bytes());
            assert_eq!(encode(text.as_bytes()), octets);
        }
    }

    #[test]
    fn every_octet_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn a_path_becomes_valid_and_keeps_its_length() {
        for text in ["/tmp/agent.sock", "tmp%2Fx.sock", "a:b@c[d]e$f,g;h*i&j=k l?m'n+o|p(q)\"r!"] {
            let mut octets = encode(text.as_bytes());
            let before = octets.len();
            make_valid(&mut octets);
            let changed = decode(&octets).unwrap();
            assert!(is_valid(&changed), "{:?}", String::from_utf8_lossy(&changed));
            assert_eq!((octets.len(), changed.len()), (before, text.len()));
        }
    }

    #[test]
    fn what_is_valid_or_malformed_stays() {
        for octets in [encode(b"localhost:8080"), encode(b"[::1]"), vec![0xff; 5], vec![0x3f, 0xff, 0xff], vec![0x00]] {
            let mut changed = octets.clone();
            make_valid(&mut changed);
            assert_eq!(changed, octets);
        }
        assert_eq!(decode(&[0xff; 4]), None, "EOS");
        assert_eq!(decode(&[0x00]), None, "padding of zeros");
    }
}
