//! CKA_LABEL of our objects: whose key it is, what for, and when it was made. For people and for `hsm gc`; who may write to the token
//! may change it, so nothing else hangs on it.
//!
//! `plastron/<instance>/<what for>@<Unix seconds, 8 hexadecimal digits>`: short, because some tokens take 40 bytes.

use std::time::{SystemTime, UNIX_EPOCH};

/// The label of a new key.
pub(crate) fn of_key(instance: &str, what_for: &str, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{}{what_for}@{seconds:08x}", prefix(instance))
}

/// Whether this instance made it.
pub(crate) fn is_of(instance: &str, label: &str) -> bool {
    label.starts_with(&prefix(instance))
}

/// What for, as the caller said; the whole label of a key that this instance did not make.
pub(crate) fn of_caller<'a>(instance: &str, label: &'a str) -> &'a str {
    let Some(ours) = label.strip_prefix(&prefix(instance)) else { return label };
    split(ours).map_or(ours, |(what_for, _)| what_for)
}

/// When it was made, Unix seconds. Keys of earlier versions do not say.
pub(crate) fn made_at(label: &str) -> Option<u64> {
    split(label).map(|(_, seconds)| seconds)
}

fn split(label: &str) -> Option<(&str, u64)> {
    let (what_for, digits) = label.rsplit_once('@')?;
    let seconds = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8)?;
    Some((what_for, seconds))
}

fn prefix(instance: &str) -> String {
    format!("plastron/{instance}/")
}

#[cfg(test)]
mod tests {
    use super::{is_of, made_at, of_caller, of_key};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_label_says_whose_what_for_and_since_when() {
        let label = of_key("a", "JWT-Signer-A", UNIX_EPOCH + Duration::from_secs(0x6a8b_1f40));
        assert_eq!(label, "plastron/a/JWT-Signer-A@6a8b1f40");
        assert!(is_of("a", &label) && !is_of("", &label) && !is_of("ab", &label));
        assert_eq!((of_caller("a", &label), made_at(&label)), ("JWT-Signer-A", Some(0x6a8b_1f40)));
        assert!(of_key("plastron", "JWT-Signer-A", UNIX_EPOCH).len() <= 40);
        // Made before labels said when, and by others.
        assert_eq!((of_caller("a", "plastron/a/x509-CA-A"), made_at("plastron/a/x509-CA-A")), ("x509-CA-A", None));
        assert_eq!((of_caller("a", "planted@6a8b1f40"), made_at("someone@else")), ("planted@6a8b1f40", None));
    }
}
