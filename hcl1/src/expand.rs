//! `-expandEnv`: what Go's `os.Expand` does to the raw text before it is parsed.
//!
//! A variable may thus hold syntax, and columns (with a multi-line value also lines) shift behind it; SPIRE's files rely on
//! the first. `$$` is a dollar sign.

use crate::{ConfigError, MAX_FILE_BYTES};

/// Replaces `$NAME` and `${NAME}` by what `lookup` gives, nothing where it gives `None`.
pub fn expand_env(text: &str, file_name: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, at) = rest.split_at(dollar);
        out.push_str(before);
        let after = at.get(1..).unwrap_or_default();
        let (name, width) = shell_name(after);
        match (name, width) {
            // A dollar that no name follows is itself.
            ("", 0) => out.push('$'),
            // `${}` and an unclosed `${` are swallowed, as Go does.
            ("", _) => {}
            ("$", _) => out.push('$'),
            (name, _) => out.push_str(&lookup(name).unwrap_or_default()),
        }
        if out.len() > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { file: file_name.to_owned(), limit: MAX_FILE_BYTES });
        }
        rest = after.get(width..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

/// The name after a dollar sign, and how many bytes of `text` it and its braces take.
fn shell_name(text: &str) -> (&str, usize) {
    let Some(first) = text.bytes().next() else { return ("", 0) };
    if first == b'{' {
        let inner = text.get(1..).unwrap_or_default();
        if let Some(special) = inner.get(..1)
            && special.bytes().all(is_special)
            && inner.get(1..2) == Some("}")
        {
            return (special, 3);
        }
        return match inner.find('}') {
            Some(end) => (inner.get(..end).unwrap_or_default(), end + 2),
            None => ("", 1),
        };
    }
    if is_special(first) {
        return (text.get(..1).unwrap_or_default(), 1);
    }
    let end = text.bytes().position(|b| b != b'_' && !b.is_ascii_alphanumeric()).unwrap_or(text.len());
    (text.get(..end).unwrap_or_default(), end)
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9')
}

#[cfg(test)]
mod tests {
    use super::expand_env;
    use crate::{ConfigError, MAX_FILE_BYTES};

    fn expanded(text: &str) -> String {
        expand_env(text, "f", |name| (name != "UNSET").then(|| format!("<{name}>"))).unwrap()
    }

    #[test]
    fn variables_are_replaced_as_go_replaces_them() {
        for (text, expected) in [
            ("", ""),
            ("no variable", "no variable"),
            ("$A", "<A>"),
            ("${A}", "<A>"),
            ("x${A}y$B-z", "x<A>y<B>-z"),
            ("$UNSET.", "."),
            ("$$A", "$A"),
            ("$$$A", "$<A>"),
            ("${$}", "$"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("${}x", "x"),
            ("${unclosed", "unclosed"),
            ("$1x", "<1>x"),
            ("${1}x", "<1>x"),
            ("${a b}", "<a b>"),
            ("$é", "$é"),
            ("${é}", "<é>"),
            ("$_1", "<_1>"),
            ("$*", "<*>"),
        ] {
            assert_eq!(expanded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_variables_hold_can_not_grow_without_bound() {
        let large = "x".repeat(MAX_FILE_BYTES / 2 + 1);
        let error = expand_env("$A$A$A$A", "f", |_| Some(large.clone())).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    }
}
