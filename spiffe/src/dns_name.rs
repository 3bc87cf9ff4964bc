//! DNS names in registration entries, by SPIRE's rules: ASCII, no final dot, a wildcard only as the whole first label, and no name that
//! a wildcard of the same entry covers. Internationalised names come as A-labels.
//!
//! Of the characters SPIRE takes all of ASCII; here it is those that verifiers match: letters of either case, digits, hyphens, and the
//! underscore, which no host name has and many names of services do. Whether an A-label decodes is not looked at.

/// Longest DNS name, in bytes (RFC 1035, section 2.3.4, without the root's dot).
const MAX_LEN: usize = 253;
/// Longest label, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// Why a DNS name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// The empty string.
    #[error("DNS name is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("DNS name has {len} bytes, of at most {MAX_LEN}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// A dot at the end.
    #[error("DNS name {name:?} ends with a dot")]
    FinalDot {
        /// The name.
        name: String,
    },
    /// A label that is empty or too long.
    #[error("a label of DNS name {name:?} has {len} bytes, where 1 to {MAX_LABEL_LEN} are allowed")]
    LabelLength {
        /// The name.
        name: String,
        /// The label's length.
        len: usize,
    },
    /// Something else than letters, digits, underscores and inner hyphens, or hyphens where A-labels have theirs (RFC 5891, section 4.2.3.1).
    #[error(
        "label {label:?} of DNS name {name:?} is not letters, digits, underscores and inner hyphens, the third and fourth not both hyphens"
    )]
    Label {
        /// The name.
        name: String,
        /// The label.
        label: String,
    },
    /// A wildcard that is not the whole first label of at least two.
    #[error("DNS name {name:?} has a wildcard that is not its whole first label")]
    Wildcard {
        /// The name.
        name: String,
    },
    /// A name that a wildcard beside it already covers.
    #[error("DNS name {name:?} is covered by {wildcard:?}")]
    Overlap {
        /// The name.
        name: String,
        /// The wildcard.
        wildcard: String,
    },
}

/// Checks each name, then all of them for overlaps.
pub fn check_dns_names(names: &[String]) -> Result<(), DnsNameError> {
    for name in names {
        check(name)?;
    }
    for wildcard in names {
        let Some(parent) = wildcard.strip_prefix("*.") else { continue };
        let covered =
            |name: &&String| name.split_once('.').is_some_and(|(l, p)| l != "*" && p.eq_ignore_ascii_case(parent));
        if let Some(name) = names.iter().find(covered) {
            return Err(DnsNameError::Overlap { name: name.clone(), wildcard: wildcard.clone() });
        }
    }
    Ok(())
}

fn check(name: &str) -> Result<(), DnsNameError> {
    if name.is_empty() {
        return Err(DnsNameError::Empty);
    }
    if name.len() > MAX_LEN {
        return Err(DnsNameError::TooLong { len: name.len() });
    }
    if name.ends_with('.') {
        return Err(DnsNameError::FinalDot { name: name.to_owned() });
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if labels.contains('*') {
        return Err(DnsNameError::Wildcard { name: name.to_owned() });
    }
    for label in labels.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL_LEN {
            return Err(DnsNameError::LabelLength { name: name.to_owned(), len: label.len() });
        }
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let reserved = label.get(2..4) == Some("--") && !label.get(..2).is_some_and(|xn| xn.eq_ignore_ascii_case("xn"));
        if !plain || reserved || label.starts_with('-') || label.ends_with('-') {
            return Err(DnsNameError::Label { name: name.to_owned(), label: label.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Result<(), DnsNameError> {
        check_dns_names(&[name.to_owned()])
    }

    #[test]
    fn good_names() {
        for name in [
            "web",
            "a.b.c",
            "Web.Example",
            "_grpc.a_b",
            "*.A_b",
            "_",
            "*.example.org",
            "xn--bcher-kva.example",
            "1.2.3.4",
            &"a".repeat(63),
        ] {
            assert_eq!(one(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let owned = str::to_owned;
        assert_eq!(one(""), Err(DnsNameError::Empty));
        assert_eq!(one(&"a.".repeat(127)), Err(DnsNameError::TooLong { len: 254 }));
        assert_eq!(one("a."), Err(DnsNameError::FinalDot { name: owned("a.") }));
        assert_eq!(one("a..b"), Err(DnsNameError::LabelLength { name: owned("a..b"), len: 0 }));
        let long = "a".repeat(64);
        assert_eq!(one(&long), Err(DnsNameError::LabelLength { name: long.clone(), len: 64 }));
        for bad in ["-a", "a-", "-", "ab--cd", "a b", "a\tb", "a:80", "a/b", "bücher"] {
            assert_eq!(one(bad), Err(DnsNameError::Label { name: owned(bad), label: owned(bad) }));
        }
        for bad in ["*", "a.*", "*a.b", "*.*.a", "**.a"] {
            assert_eq!(one(bad), Err(DnsNameError::Wildcard { name: owned(bad) }));
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = |names: &[&str]| check_dns_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            names(&["a.example", "*.example"]),
            Err(DnsNameError::Overlap { name: "a.example".to_owned(), wildcard: "*.example".to_owned() })
        );
        assert!(names(&["a.Example", "*.example"]).is_err(), "DNS knows no case");
        assert_eq!(names(&["a.b.example", "*.example", "example"]), Ok(()));
    }
}
