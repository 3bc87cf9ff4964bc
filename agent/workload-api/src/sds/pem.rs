//! PEM (RFC 7468): what Envoy reads certificates and keys from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const LINE: usize = 64;

/// The label of a certificate.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a PKCS#8 key.
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// These DER values one after the other, each as PEM.
pub(super) fn encode<'a>(label: &str, values: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = String::new();
    for der in values {
        let base64 = STANDARD.encode(der);
        text.push_str(&format!("-----BEGIN {label}-----\n"));
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII: any length is a boundary of characters.
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(&format!("-----END {label}-----\n"));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_each_other_in_lines_of_64() {
        let text = String::from_utf8(encode("X", [&[0; 49][..], b"a"])).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let full = "A".repeat(64);
        assert_eq!(
            lines,
            ["-----BEGIN X-----", &full, "AA==", "-----END X-----", "-----BEGIN X-----", "YQ==", "-----END X-----"]
        );
        assert!(text.ends_with('\n'));
    }
}
