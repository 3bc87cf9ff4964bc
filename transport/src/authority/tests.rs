//! The filter alone: what it changes, and what it must not.

use super::filter::{Filter, MAX_HELD};
use super::hpack;
use super::huffman;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(1, 4, 1, block)
}

/// A string shorter than 127 octets.
fn string(text: &[u8], coded: bool) -> Vec<u8> {
    let octets = if coded { huffman::encode(text) } else { text.to_vec() };
    let len = u8::try_from(octets.len()).unwrap();
    assert!(len < 127);
    [&[len | if coded { 0x80 } else { 0 }], octets.as_slice()].concat()
}

/// `:method POST`, `:scheme http`, `:path /` from the static table, then these fields.
fn block(fields: &[u8]) -> Vec<u8> {
    [&[0x83, 0x86, 0x84], fields].concat()
}

/// `:authority` in each literal form: with its name from the static table or as text, with and without indexing, never indexed.
fn authorities(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for coded in [false, true] {
        let value = string(value, coded);
        for first in [0x41, 0x01, 0x11] {
            all.push([&[first], value.as_slice()].concat());
        }
        for first in [0x40, 0x00, 0x10] {
            all.push([&[first], string(b":authority", coded).as_slice(), &value].concat());
        }
    }
    all
}

fn connection(frames: &[u8]) -> Vec<u8> {
    [PREFACE, SETTINGS, frames].concat()
}

/// Runs the bytes through a filter in pieces, as the adapter does.
fn filtered(input: &[u8], mut piece: impl FnMut() -> usize) -> Vec<u8> {
    let (mut filter, mut out, mut rest) = (Filter::default(), Vec::new(), input.to_vec());
    while !rest.is_empty() {
        let mut now: Vec<u8> = rest.drain(..piece().clamp(1, rest.len())).collect();
        let passed = filter.pass(&mut now);
        let (go, hold) = now.split_at_mut(passed);
        out.extend_from_slice(go);
        filter.gather(hold, &mut out);
    }
    filter.end(&mut out);
    out
}

fn whole(input: &[u8]) -> Vec<u8> {
    filtered(input, || usize::MAX)
}

/// Deterministic numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Connections with valid and invalid authorities in all forms, padding, priority, continuations, data and trailers.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for value in [b"/tmp/x%2Fy.sock".as_slice(), b"localhost", b"a b#c@x:y:z", b"unix:/run/spire/api.sock"] {
        for authority in authorities(value) {
            let whole_block = block(&[authority.as_slice(), &[0x3f, 0xe1, 0x1f], &[0x40, 1, b'a', 1, b'/']].concat());
            let padded = [&[3], whole_block.as_slice(), &[0, 0, 0]].concat();
            let priority = [&[0, 0, 0, 0, 16], whole_block.as_slice()].concat();
            let both = [&[2, 0, 0, 0, 0, 16], whole_block.as_slice(), &[0, 0]].concat();
            let (one, rest) = whole_block.split_at(7);
            let (two, three) = rest.split_at(4);
            let frames = [
                headers(&whole_block),
                frame(0, 0, 1, &[0xab; 300]),
                frame(1, 4 | 8, 3, &padded),
                frame(1, 4 | 0x20, 5, &priority),
                frame(1, 4 | 8 | 0x20, 7, &both),
                [frame(1, 0, 9, one), frame(9, 0, 9, two), frame(9, 0, 9, &[]), frame(9, 4, 9, three)].concat(),
                frame(0, 1, 9, b""),
                frame(1, 4 | 1, 1, &[0x40, 4, b'g', b'r', b'p', b'c', 1, b'0']),
            ];
            samples.push(connection(&frames.concat()));
        }
    }
    samples
}

#[test]
fn every_literal_form_becomes_valid_with_its_length_unchanged() {
    for value in [b"/tmp/x%2Fy.sock".as_slice(), b"%2Fa", b"unix:/run/a.sock", b"a:b:c", b"x y"] {
        for authority in authorities(value) {
            let input = connection(&headers(&block(&authority)));
            let out = whole(&input);
            assert_eq!(out.len(), input.len());
            assert_ne!(out, input);
            // The value is the last string of the block, in its own coding.
            let len = if authority.ends_with(value) { value.len() } else { huffman::encode(value).len() };
            let changed = &out[out.len() - len..];
            let text = if authority.ends_with(value) { changed.to_vec() } else { huffman::decode(changed).unwrap() };
            assert_eq!(text.len(), value.len());
            assert!(hpack::is_valid(&text), "{}", text.escape_ascii());
            assert_eq!(out[..out.len() - len], input[..input.len() - len], "nothing but the value changes");
        }
    }
}

#[test]
fn valid_authorities_and_other_fields_stay() {
    for value in [b"localhost".as_slice(), b"localhost:0", b"[::1]:1", b"a.b-c"] {
        for authority in authorities(value) {
            let other = [&[0x40], string(b"x", false).as_slice(), &string(b"/tmp/%2F", true)].concat();
            let input = connection(&headers(&block(&[authority, other].concat())));
            assert_eq!(whole(&input), input);
        }
    }
}

#[test]
fn any_split_gives_the_same_and_a_second_pass_changes_nothing() {
    let mut random = Random(7);
    for input in samples() {
        let expected = whole(&input);
        assert_eq!(expected.len(), input.len());
        assert_eq!(whole(&expected), expected, "idempotent");
        assert_eq!(filtered(&input, || 1), expected);
        for _ in 0..20 {
            let longest = 1 + random.below(80);
            assert_eq!(filtered(&input, || 1 + random.below(longest)), expected);
        }
    }
}

#[test]
fn a_lone_empty_authority_is_removed() {
    for empty in
        [vec![0x81], vec![0x01, 0x00], vec![0x00, 10, b':', b'a', b'u', b't', b'h', b'o', b'r', b'i', b't', b'y', 0]]
    {
        let out = whole(&connection(&headers(&block(&[empty.clone(), vec![0x88]].concat()))));
        assert_eq!(out, connection(&headers(&block(&[0x88]))));
        let twice = connection(&headers(&block(&[empty.clone(), empty].concat())));
        assert_eq!(whole(&twice), twice, "malformed anyway");
    }
    let indexed = connection(&headers(&block(&[0x41, 0x00])));
    assert_eq!(whole(&indexed), indexed, "it must enter the table");
}

#[test]
fn violations_pass_unchanged() {
    let bad = block(&authorities(b"/tmp/a").remove(0));
    for frames in [
        // HEADERS within a block, a continuation of another stream, a block that never ends.
        [frame(1, 0, 1, &bad), headers(&bad)].concat(),
        [frame(1, 0, 1, &bad), frame(9, 4, 3, &[])].concat(),
        [frame(1, 0, 1, &bad), frame(9, 0, 1, &[0x88; 100])].concat(),
        // Padding longer than the frame, priority that is cut off.
        frame(1, 4 | 8, 1, &[200, 0x83]),
        frame(1, 4 | 0x20, 1, &[0, 0]),
        // Malformed blocks: a string, a name or an integer that is cut off, an integer without end.
        headers(&[0x41, 0x7f]),
        headers(&[0x41, 0x05, b'/']),
        headers(&[0x40]),
        headers(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        headers(&[0xff]),
        // Longer than a frame may be.
        frame(1, 4, 1, &vec![0x88; 16_385]),
    ] {
        let input = connection(&frames);
        assert_eq!(whole(&input), input);
        assert_eq!(filtered(&input, || 3), input);
    }
    let not_http2 = b"GET /tmp/a HTTP/1.1\r\n\r\n".repeat(10);
    assert_eq!(whole(&not_http2), not_http2);
}

#[test]
fn no_more_is_held_than_the_limit() {
    let mut filter = Filter::default();
    let mut out = Vec::new();
    filter.gather(&mut connection(&frame(1, 0, 1, &[0x88; 100])), &mut out);
    let before = out.len();
    for sent in 0..20 {
        let mut more = frame(9, 0, 1, &[0x88; 16_000]);
        filter.gather(&mut more, &mut out);
        if sent * 16_000 > MAX_HELD {
            assert!(out.len() > before + MAX_HELD / 2, "released once it was too long");
        }
    }
    assert_eq!(out.len(), connection(&frame(1, 0, 1, &[0x88; 100])).len() + 20 * 16_009);
}

#[test]
fn mutated_bytes_never_panic_and_never_grow() {
    let mut random = Random(11);
    for sample in samples() {
        for _ in 0..200 {
            let mut input = sample.clone();
            for _ in 0..=random.below(4) {
                let at = PREFACE.len() + random.below(input.len() - PREFACE.len());
                input[at] ^= u8::try_from(1 + random.below(255)).unwrap();
            }
            let expected = whole(&input);
            assert!(expected.len() <= input.len());
            let longest = 1 + random.below(40);
            assert_eq!(filtered(&input, || 1 + random.below(longest)), expected);
        }
    }
}
