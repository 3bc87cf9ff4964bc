//! SPIRE writes `-socketPath`, GNU writes `--socketPath`: both are accepted, by turning the first into the second.

use std::ffi::{OsStr, OsString};

/// Adds the second dash to every flag that has one dash and more than one letter. Values, negative numbers, `-` and everything after
/// `--` stay as they are.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut flags_end = false;
    arguments
        .into_iter()
        .map(|argument| {
            flags_end |= argument == "--";
            if !flags_end && has_one_dash(&argument) {
                let mut two = OsString::from("-");
                two.push(&argument);
                return two;
            }
            argument
        })
        .collect()
}

/// The spellings that Go's flag package takes for a boolean, so that `-silent=true` works.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

fn has_one_dash(argument: &OsStr) -> bool {
    let mut bytes = argument.as_encoded_bytes().iter();
    bytes.next() == Some(&b'-')
        && bytes.next().is_some_and(u8::is_ascii_alphabetic)
        && bytes.next().is_some_and(|byte| *byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_becomes_two() {
        let given =
            ["p", "-socketPath", "/s", "--output=json", "-write=d", "-h", "-o", "-o=json", "-", "-5", "--", "-timeout"];
        let wanted = [
            "p",
            "--socketPath",
            "/s",
            "--output=json",
            "--write=d",
            "-h",
            "-o",
            "-o=json",
            "-",
            "-5",
            "--",
            "-timeout",
        ];
        assert_eq!(normalise(given.map(OsString::from)), wanted.map(OsString::from));
    }
}
