//! Values of the pools' configuration that are read the same way wherever they stand.

use plastron_plugins_node_tpm::EkFingerprint;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// 64 hexadecimal digits.
pub(super) fn fingerprint(hex: &str) -> Result<EkFingerprint, String> {
    EkFingerprint::from_hex(hex)
        .ok_or_else(|| format!("{hex:?} is no EK fingerprint: expected 64 hexadecimal digits in lower case"))
}

/// A time of RFC 3339, in Unix seconds.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let seconds = parsed.and_then(|moment| u64::try_from(moment.unix_timestamp()).ok());
    seconds.ok_or_else(|| format!("{text:?} is no time: expected one such as 2026-01-31T12:00:00Z"))
}

/// Pairs of hexadecimal digits.
pub(super) fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
