//! Walks through a header block (RFC 7541, sections 5 and 6) without a table: it needs only literals and their ends.

use std::ops::Range;

use super::huffman;

const AUTHORITY: &[u8] = b":authority";
/// `:authority` with an empty value in the static table (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;

/// A field that is an `:authority`.
enum Field {
    /// A literal value.
    Value { range: Range<usize>, huffman: bool },
    /// An empty value; the whole field, which does not enter the dynamic table.
    Empty(Range<usize>),
    /// An empty value that enters the dynamic table: it must stay.
    EmptyIndexed,
}

/// Makes every `:authority` value valid that can be made so in place. Where the only one is an empty value it has to be removed:
/// its range is returned.
pub(super) fn change(block: &mut [u8]) -> Option<Range<usize>> {
    let fields = authorities(block)?;
    for field in &fields {
        if let Field::Value { range, huffman } = field
            && let Some(value) = block.get_mut(range.clone())
        {
            if *huffman { huffman::make_valid(value) } else { make_valid(value) }
        }
    }
    match fields.as_slice() {
        [Field::Empty(range)] => Some(range.clone()),
        _ => None,
    }
}

/// What h2 takes as an authority.
pub(super) fn is_valid(value: &[u8]) -> bool {
    http::uri::Authority::try_from(value).is_ok()
}

/// Characters that stay. Not all that an authority may have: `@`, `:` and brackets have rules of their own.
pub(super) fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
}

fn make_valid(value: &mut [u8]) {
    if !is_valid(value) {
        for octet in value.iter_mut().filter(|octet| !is_plain(**octet)) {
            *octet = b'-';
        }
    }
}

/// `None` where the block is malformed: h2 answers.
fn authorities(block: &[u8]) -> Option<Vec<Field>> {
    let mut reader = Reader { block, at: 0 };
    let mut found = Vec::new();
    while let Some(&first) = block.get(reader.at) {
        let start = reader.at;
        match first {
            0x80.. => {
                if reader.integer(7)? == AUTHORITY_INDEX {
                    found.push(Field::Empty(start..reader.at));
                }
            }
            // A new size of the dynamic table.
            0x20..0x40 => drop(reader.integer(5)?),
            _ => {
                let indexed = first >= 0x40;
                let is_authority = match reader.integer(if indexed { 6 } else { 4 })? {
                    0 => reader.name_is_authority()?,
                    index => index == AUTHORITY_INDEX,
                };
                let (range, huffman) = reader.string()?;
                if is_authority {
                    found.push(match (range.is_empty(), indexed) {
                        (false, _) => Field::Value { range, huffman },
                        (true, true) => Field::EmptyIndexed,
                        (true, false) => Field::Empty(start..reader.at),
                    });
                }
            }
        }
    }
    Some(found)
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn octet(&mut self) -> Option<usize> {
        let octet = *self.block.get(self.at)?;
        self.at += 1;
        Some(usize::from(octet))
    }

    /// Section 5.1. At most four continuation octets: no length or index in a bounded block needs more.
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1 << prefix) - 1;
        let mut value = self.octet()? & mask;
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = self.octet()?;
            value += (octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Section 5.2: where the octets are, and whether they are Huffman codes.
    fn string(&mut self) -> Option<(Range<usize>, bool)> {
        let huffman = *self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let range = self.at..self.at.checked_add(len)?;
        self.block.get(range.clone())?;
        self.at = range.end;
        Some((range, huffman))
    }

    fn name_is_authority(&mut self) -> Option<bool> {
        let (range, huffman) = self.string()?;
        let name = self.block.get(range)?;
        Some(if huffman { huffman::decode(name).is_some_and(|name| name == AUTHORITY) } else { name == AUTHORITY })
    }
}
