//! CHAR16 strings (UEFI Specification 2.10, section 2.3.1): UTF-16LE, decoded strictly.
//!
//! A lone surrogate is refused, never replaced: two names that differ must not be read as one.

use crate::{ReadError, Reader};

/// Reads `count` CHAR16. Whatever stands there is kept, NUL included; the caller says what a terminator means.
pub(crate) fn read(reader: &mut Reader<'_>, field: &'static str, count: usize) -> Result<String, ReadError> {
    let start = reader.clone();
    let bytes = reader.take(count.saturating_mul(2))?;
    decode(bytes).map_err(|(unit, position)| {
        let mut at = start;
        match at.take(position.saturating_mul(2)) {
            Ok(_) => at.value(field, unit.into()),
            Err(error) => error,
        }
    })
}

/// Reads CHAR16 up to a NUL, which is taken and not returned, or to the end of the structure.
pub(crate) fn read_until_nul(reader: &mut Reader<'_>, field: &'static str, limit: usize) -> Result<String, ReadError> {
    let mut ahead = reader.clone();
    let mut count = 0;
    let mut terminated = false;
    while ahead.left() > 0 {
        if ahead.u16_le()? == 0 {
            terminated = true;
            break;
        }
        count += 1;
        if count > limit {
            return Err(reader.too_many(field, count, limit));
        }
    }
    let text = read(reader, field, count)?;
    if terminated {
        reader.take(2)?;
    }
    Ok(text)
}

/// Decodes UTF-16LE, or gives the unit that is no character's and its number. An odd last byte is the caller's to refuse.
fn decode(bytes: &[u8]) -> Result<String, (u16, usize)> {
    let units = bytes.chunks_exact(2).map(|pair| pair.iter().rev().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut position = 0;
    for character in char::decode_utf16(units) {
        let character = character.map_err(|error| (error.unpaired_surrogate(), position))?;
        position += character.len_utf16();
        text.push(character);
    }
    Ok(text)
}

/// Decodes a UTF-16LE text that fills `bytes`: at most `limit` characters of 16 bits. A NUL is kept.
pub fn utf16_le(bytes: &[u8], limit: usize) -> Result<String, ReadError> {
    let mut reader = Reader::new("UTF-16LE text", bytes);
    let count = bytes.len() / 2;
    if count > limit {
        return Err(reader.too_many("characters", count, limit));
    }
    let text = read(&mut reader, "character", count)?;
    reader.end()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;

    #[test]
    fn text_outside_the_basic_plane_is_read() {
        assert_eq!(utf16_le(&[0x41, 0, 0x3d, 0xd8, 0x00, 0xde, 0, 0], 4).unwrap(), "A\u{1f600}\0");
    }

    #[test]
    fn a_lone_surrogate_is_refused_where_it_stands() {
        let error = utf16_le(&[0x41, 0, 0x3d, 0xd8, 0x42, 0], 9).unwrap_err();
        assert_eq!((error.offset, error.reason), (2, ReadFault::Value { field: "character", value: 0xd83d }));
    }

    #[test]
    fn half_a_character_and_too_many_are_refused() {
        assert_eq!(utf16_le(&[0x41, 0, 0x42], 9).unwrap_err().reason, ReadFault::Trailing { left: 1 });
        assert!(matches!(utf16_le(&[0; 8], 3).unwrap_err().reason, ReadFault::TooMany { got: 4, limit: 3, .. }));
    }

    #[test]
    fn a_terminator_ends_a_text_and_is_taken() {
        let mut reader = Reader::new("test", &[0x41, 0, 0, 0, 0x42, 0]);
        assert_eq!(read_until_nul(&mut reader, "text", 8).unwrap(), "A");
        assert_eq!(read_until_nul(&mut reader, "text", 8).unwrap(), "B");
        assert_eq!(reader.left(), 0);
    }
}
