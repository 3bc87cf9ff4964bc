//! A mutator without luck: the same seed gives the same inputs, on any machine.

/// Longest input that grows out of a seed; seeds that are longer stay as long as they are.
const MAX_LEN: usize = 1 << 16;

/// Most changes to one input.
const MAX_CHANGES: u64 = 6;

/// SplitMix64: one addition and three mixing steps give the next number.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, or 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// A number that length fields do not like: extremes, and what is near the length of the input.
    fn extreme(&mut self, len: usize) -> u64 {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let candidates = [
            0,
            1,
            0x7f,
            0x80,
            0xff,
            0x100,
            0x7fff,
            0x8000,
            0xffff,
            0x1_0000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            u64::MAX / 2,
            u64::MAX / 2 + 1,
            u64::MAX - 1,
            u64::MAX,
            len,
            len.wrapping_add(1),
            len.wrapping_sub(1),
            len / 2,
        ];
        let index = self.below(candidates.len());
        candidates.get(index).copied().unwrap_or_default()
    }
}

/// Makes an input out of one of the seeds: some changes, in rare cases none.
pub(crate) fn mutate(numbers: &mut Numbers, seeds: &[Vec<u8>], input: &mut Vec<u8>) {
    let seed = |numbers: &mut Numbers| seeds.get(numbers.below(seeds.len())).map(Vec::as_slice).unwrap_or_default();
    input.clear();
    input.extend_from_slice(seed(numbers));
    let limit = MAX_LEN.max(input.len());
    for _ in 0..numbers.next() % (MAX_CHANGES + 1) {
        match numbers.next() % 9 {
            0 | 1 => flip_a_bit(numbers, input),
            2 => write_extreme(numbers, input),
            3 => overwrite_byte(numbers, input),
            4 => cut(numbers, input),
            5 => repeat(numbers, input),
            6 => splice(numbers, seed(&mut numbers.clone()), input),
            7 => input.truncate(numbers.below(input.len() + 1)),
            _ => pad(numbers, input),
        }
        input.truncate(limit);
    }
}

fn flip_a_bit(numbers: &mut Numbers, input: &mut [u8]) {
    let (at, bit) = (numbers.below(input.len()), numbers.next() % 8);
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// A length field of 2, 4 or 8 bytes, in either byte order, at any place.
fn write_extreme(numbers: &mut Numbers, input: &mut [u8]) {
    let value = numbers.extreme(input.len());
    let width = [2, 4, 8][numbers.below(3)];
    let at = numbers.below(input.len());
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let bytes = if numbers.next().is_multiple_of(2) { &little[..width] } else { &big[8 - width..] };
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn overwrite_byte(numbers: &mut Numbers, input: &mut [u8]) {
    let value = [0, 1, 0x7f, 0x80, 0xff, numbers.next().to_le_bytes()[0]][numbers.below(6)];
    let at = numbers.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte = value;
    }
}

/// A range of the input, more often short than long.
fn range(numbers: &mut Numbers, len: usize) -> std::ops::Range<usize> {
    let start = numbers.below(len + 1);
    let longest = if numbers.next().is_multiple_of(4) { len - start } else { (len - start).min(32) };
    start..start + numbers.below(longest + 1)
}

fn cut(numbers: &mut Numbers, input: &mut Vec<u8>) {
    let range = range(numbers, input.len());
    input.drain(range);
}

fn repeat(numbers: &mut Numbers, input: &mut Vec<u8>) {
    let range = range(numbers, input.len());
    let piece = input[range.clone()].to_vec();
    let times = 1 + numbers.below(4);
    input.splice(range.end..range.end, piece.repeat(times));
}

/// Puts a piece of another seed into the input, or in place of a piece of it.
fn splice(numbers: &mut Numbers, other: &[u8], input: &mut Vec<u8>) {
    let piece = &other[range(numbers, other.len())];
    let mut place = range(numbers, input.len());
    if numbers.next().is_multiple_of(2) {
        place.end = place.start;
    }
    input.splice(place, piece.iter().copied());
}

fn pad(numbers: &mut Numbers, input: &mut Vec<u8>) {
    let byte = if numbers.next().is_multiple_of(2) { 0 } else { 0xff };
    let len = input.len() + numbers.below(64);
    input.resize(len, byte);
}
