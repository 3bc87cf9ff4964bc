//! Values of flags as SPIRE spells them: Go's booleans and durations, filters, SPIFFE IDs and selectors.

use std::time::Duration;

use plastron_proto::types::{Selector, Spiffeid, federates_with_match, selector_match};
use plastron_spiffe::SpiffeId;

use crate::CliError;

/// The spellings that Go's flag package takes for a boolean.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A filter with three states: anything but `true` and `false` means all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tristate {
    All,
    Only(bool),
}

impl Tristate {
    pub(crate) fn parse(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(match text {
            "true" => Self::Only(true),
            "false" => Self::Only(false),
            _ => Self::All,
        })
    }

    pub(crate) fn filter(self) -> Option<bool> {
        match self {
            Self::All => None,
            Self::Only(wanted) => Some(wanted),
        }
    }
}

/// A Go duration longer than nothing: `90s`, `1h30m`, `1.5h`, `250ms`, `3µs`.
///
/// # Errors
/// What was expected, where it is none, or zero.
pub fn go_duration(text: &str) -> Result<Duration, String> {
    match nanoseconds(text) {
        Some(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err("expected a duration such as 30s or 5m".to_owned()),
    }
}

/// What Go's `time.ParseDuration` makes of a text without a sign; nothing from 2^63 ns on, where Go's durations end.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += u128::from(whole) * scale;
        // Below a nanosecond nothing counts: an hour has fewer than 10^13 of them.
        let digits = fraction.get(..fraction.len().min(15)).unwrap_or_default();
        if !digits.is_empty() {
            total += u128::from(digits.parse::<u64>().ok()?) * scale / 10_u128.pow(u32::try_from(digits.len()).ok()?);
        }
        rest = tail;
    }
    i64::try_from(total).ok().and_then(|nanos| u64::try_from(nanos).ok()).filter(|_| !text.is_empty())
}

/// A Go duration as [`go_duration`] reads it, or zero.
pub fn go_duration_or_zero(text: &str) -> Result<Duration, String> {
    if is_zero(text) { Ok(Duration::ZERO) } else { go_duration(text) }
}

fn is_zero(text: &str) -> bool {
    text == "0" || nanoseconds(text) == Some(0)
}

/// The lifetime that an SVID shall have, in whole seconds; 0 leaves it to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(pub(crate) i32);

/// A Go duration, rounded up to the second as SPIRE rounds it. Unlike SPIRE's, a negative one is refused: it would mean the default.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    if is_zero(text) {
        return Ok(Ttl(0));
    }
    let duration = go_duration(text)?;
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(seconds).map(Ttl).map_err(|_| "invalid value for TTL: longer than 68 years".to_owned())
}

/// How a filter's set must relate to an entry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MatchOn {
    Exact,
    Any,
    Superset,
    Subset,
}

impl MatchOn {
    pub(crate) fn selectors(self) -> selector_match::MatchBehavior {
        match self {
            Self::Exact => selector_match::MatchBehavior::MatchExact,
            Self::Any => selector_match::MatchBehavior::MatchAny,
            Self::Superset => selector_match::MatchBehavior::MatchSuperset,
            Self::Subset => selector_match::MatchBehavior::MatchSubset,
        }
    }

    pub(crate) fn trust_domains(self) -> federates_with_match::MatchBehavior {
        match self {
            Self::Exact => federates_with_match::MatchBehavior::MatchExact,
            Self::Any => federates_with_match::MatchBehavior::MatchAny,
            Self::Superset => federates_with_match::MatchBehavior::MatchSuperset,
            Self::Subset => federates_with_match::MatchBehavior::MatchSubset,
        }
    }
}

/// A SPIFFE ID on the command line or in a data file.
pub(crate) fn spiffe_id(what: &'static str, text: &str) -> Result<Spiffeid, CliError> {
    let id = SpiffeId::parse(text).map_err(|source| CliError::SpiffeId { what, text: text.to_owned(), source })?;
    Ok(Spiffeid { trust_domain: id.trust_domain().as_str().to_owned(), path: id.path().to_owned() })
}

/// `type:value`; whatever stands right of the first colon is the value.
pub(crate) fn selector(text: &str) -> Result<Selector, CliError> {
    let (r#type, value) = text.split_once(':').ok_or_else(|| CliError::Selector { text: text.to_owned() })?;
    Ok(Selector { r#type: r#type.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_durations() {
        assert_eq!(go_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(go_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(go_duration("1m0.5s").unwrap(), Duration::from_millis(60_500));
        assert_eq!(go_duration("1.0000000000000009h").unwrap(), Duration::from_secs(3600));
        assert_eq!(go_duration(".5ms").unwrap(), Duration::from_micros(500));
        assert_eq!(go_duration("2562047h47m16.854775807s").unwrap(), Duration::from_nanos(i64::MAX as u64));
        assert_eq!(go_duration("3µs4ns").unwrap(), Duration::from_nanos(3_004));
        for text in [
            "",
            "5",
            "s",
            ".s",
            "1.2.3s",
            "1d",
            "-1s",
            "0s",
            "99999999999999999999s",
            "2562047h47m16.854775808s",
            "0.5ns",
        ] {
            assert!(go_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetimes_are_rounded_up_and_may_be_none() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("1ms", 1), ("90s", 90), ("1m1ms", 61), ("2147483647s", i32::MAX)]
        {
            assert_eq!(ttl(text), Ok(Ttl(seconds)), "{text}");
        }
        for text in ["", "-1s", "60", "2147483648s", "2147483647001ms"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_selector_value_may_hold_colons() {
        let parsed = selector("k8s:ns:default").unwrap();
        assert_eq!((parsed.r#type.as_str(), parsed.value.as_str()), ("k8s", "ns:default"));
        assert!(selector("unix").is_err());
    }
}
