//! The text of strings and heredocs.

use crate::SyntaxError;
use crate::cursor::Cursor;
use crate::lexer::Fault;

/// Reads `"…"`; the cursor stands on the opening quote.
///
/// What stands in `${…}` is taken as it is, quotes and line ends included: in HCL1 it is for a later interpreter.
pub(crate) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, Fault> {
    let opening = cursor.position();
    cursor.bump();
    // Bytes, because `\xc3\xa9` spells one character in two escapes.
    let mut bytes = Vec::new();
    let mut braces = 0_usize;
    loop {
        let position = cursor.position();
        let start = cursor.offset();
        match cursor.bump() {
            None | Some('\0') => return Err((opening, SyntaxError::UnterminatedString)),
            Some('\n') if braces == 0 => return Err((opening, SyntaxError::UnterminatedString)),
            Some('"') if braces == 0 => break,
            Some('\\') => {
                let escaped = escape(cursor).map_err(|problem| (position, problem))?;
                if braces == 0 {
                    bytes.extend(escaped);
                } else {
                    bytes.extend_from_slice(cursor.since(start).as_bytes());
                }
                continue;
            }
            Some('$') if braces == 0 && cursor.peek() == Some('{') => {
                cursor.bump();
                braces = 1;
            }
            Some('{') if braces > 0 => braces += 1,
            Some('}') if braces > 0 => braces -= 1,
            Some(_) => {}
        }
        bytes.extend_from_slice(cursor.since(start).as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| (opening, SyntaxError::NotUtf8))
}

/// Reads what follows a backslash, and gives the bytes that it stands for.
fn escape(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, SyntaxError> {
    let start = cursor.offset();
    let unknown = |cursor: &Cursor<'_>| {
        let found = cursor.since(start).escape_debug().to_string();
        SyntaxError::Escape { found }
    };
    let byte = match cursor.bump() {
        Some('a') => 0x07,
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some('\\') => b'\\',
        Some('"') => b'"',
        Some(first @ '0'..='7') => {
            let rest = digits(cursor, 8, 2).ok_or_else(|| unknown(cursor))?;
            let value = first.to_digit(8).map_or(0, |d| d * 64) + rest;
            u8::try_from(value).map_err(|_| unknown(cursor))?
        }
        Some('x') => {
            let value = digits(cursor, 16, 2).ok_or_else(|| unknown(cursor))?;
            u8::try_from(value).map_err(|_| unknown(cursor))?
        }
        Some(long @ ('u' | 'U')) => {
            let count = if long == 'u' { 4 } else { 8 };
            let value = digits(cursor, 16, count).ok_or_else(|| unknown(cursor))?;
            let character = char::from_u32(value).ok_or(SyntaxError::NotUtf8)?;
            return Ok(character.to_string().into_bytes());
        }
        _ => return Err(unknown(cursor)),
    };
    Ok(vec![byte])
}

/// Exactly `count` digits.
fn digits(cursor: &mut Cursor<'_>, radix: u32, count: usize) -> Option<u32> {
    let mut value = 0_u32;
    for _ in 0..count {
        let digit = cursor.peek()?.to_digit(radix)?;
        cursor.bump();
        value = value.checked_mul(radix)?.checked_add(digit)?;
    }
    Some(value)
}

/// Reads `<<MARKER` or `<<-MARKER` and the lines up to the marker, which may be indented; the cursor stands on the first `<`.
pub(crate) fn heredoc(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.bump();
    if !cursor.eat('<') {
        return Err(SyntaxError::HeredocMarker);
    }
    let unindent = cursor.eat('-');
    let marker = cursor.take_while(|c| c == '_' || c.is_alphanumeric());
    cursor.eat('\r');
    if marker.is_empty() || !cursor.eat('\n') {
        return Err(SyntaxError::HeredocMarker);
    }
    let body_start = cursor.offset();
    loop {
        let body = cursor.since(body_start);
        let line = cursor.take_while(|c| c != '\n');
        if line.trim_end_matches('\r').trim_start() == marker {
            let indentation = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
            cursor.bump();
            return Ok(heredoc_text(body, indentation, unindent));
        }
        if cursor.bump().is_none() {
            return Err(SyntaxError::UnterminatedHeredoc { marker: marker.to_owned() });
        }
    }
}

/// `<<` keeps the end marker's indentation as a last, unfinished line: an accident of HCL1 that files may lean on. `<<-` takes
/// the end marker's indentation from every line if every line has it.
fn heredoc_text(body: &str, indentation: &str, unindent: bool) -> String {
    if !unindent {
        return format!("{body}{indentation}");
    }
    let stripped: Option<Vec<&str>> = body.split_inclusive('\n').map(|line| line.strip_prefix(indentation)).collect();
    match stripped {
        Some(lines) => lines.concat(),
        None => body.to_owned(),
    }
}
