//! Integers as HCL1 and Go write them.

/// Reads `-12`, `0x1f`, `0755` (octal), `0o7` and `0b1`. `None` if it is none of these or doesn't fit.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let magnitude = match digits.get(..2) {
        Some("0x" | "0X") => from_radix(digits.get(2..)?, 16)?,
        Some("0o" | "0O") => from_radix(digits.get(2..)?, 8)?,
        Some("0b" | "0B") => from_radix(digits.get(2..)?, 2)?,
        Some(two) if two.starts_with('0') => from_radix(digits.get(1..)?, 8)?,
        _ => from_radix(digits, 10)?,
    };
    let magnitude = i128::from(magnitude);
    Some(if negative { -magnitude } else { magnitude })
}

/// `u64::from_str_radix` takes a leading `+`, HCL does not.
fn from_radix(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("8081", Some(8081)),
            ("-5", Some(-5)),
            ("0755", Some(493)),
            ("0x1f", Some(31)),
            ("-0x1f", Some(-31)),
            ("0b11", Some(3)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("18446744073709551616", None),
            ("08", None),
            ("+5", None),
            ("0x+5", None),
            ("", None),
            ("-", None),
            ("1e3", None),
            ("é1", None),
        ] {
            assert_eq!(integer(text), value, "{text:?}");
        }
    }
}
