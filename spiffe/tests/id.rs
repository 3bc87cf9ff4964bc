//! Vectors of SPIFFE IDs (V-ID), as black-box tests of the parser.
#![expect(clippy::panic, reason = "a test may panic")]

use plastron_spiffe::{MAX_ID_LEN, MAX_TRUST_DOMAIN_LEN, SpiffeId, SpiffeIdError, TrustDomain};

fn refused(text: &str) -> SpiffeIdError {
    match SpiffeId::parse(text) {
        Ok(id) => panic!("{id} is accepted"),
        Err(error) => error,
    }
}

#[test]
fn valid_ids() {
    let long_domain = format!("spiffe://{}/x", "a".repeat(MAX_TRUST_DOMAIN_LEN));
    let longest = format!("spiffe://td/{}", "p".repeat(MAX_ID_LEN - "spiffe://td/".len()));
    assert_eq!(longest.len(), 2048);
    for text in [
        "spiffe://example.org/a",
        "spiffe://example.org",
        "spiffe://e/x",
        "spiffe://1.2.3.4/svc",
        "spiffe://td_with-all.chars_09/x",
        "spiffe://-._/x",
        "spiffe://example..org/x",
        "spiffe://.example.org/x",
        "spiffe://example.org./x",
        "spiffe://example.org/A-Z_a.z-0",
        "spiffe://example.org/...",
        "spiffe://example.org/.path",
        "spiffe://example.org/..path/x..",
        "spiffe://example.org/9eebccd2-12bf-40a6-b262-65fe0487d453",
        &long_domain,
        &longest,
    ] {
        let id = SpiffeId::parse(text).unwrap();
        assert_eq!(id.as_str(), text);
        assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        assert_eq!(id.is_trust_domain(), id.path().is_empty());
    }
}

/// Threat 20: each is refused for its own reason, and none is cleaned.
#[test]
fn invalid_ids() {
    use SpiffeIdError as E;
    for text in [
        "",
        "example.org/a",
        "http://example.org/a",
        "spiffe:/example.org/a",
        "spiffe:example.org/a",
        "SPIFFE://example.org/a",
        "Spiffe://Example.Org/a",
        " spiffe://example.org/a",
    ] {
        assert_eq!(refused(text), E::Scheme, "{text:?}");
    }
    for text in ["spiffe://", "spiffe:///a"] {
        assert_eq!(refused(text), E::MissingTrustDomain, "{text:?}");
    }
    for text in ["spiffe://example.org/", "spiffe://example.org/a/"] {
        assert_eq!(refused(text), E::TrailingSlash, "{text:?}");
    }
    for text in ["spiffe://example.org//a", "spiffe://example.org/a//b"] {
        assert_eq!(refused(text), E::EmptySegment, "{text:?}");
    }
    for path in ["/.", "/..", "/a/../b", "/a/./b"] {
        assert_eq!(refused(&format!("spiffe://example.org{path}")), E::DotSegment, "{path:?}");
    }
    for (name, at) in [
        ("user@example.org/a", 4),
        ("user:pw@example.org/a", 4),
        ("example.org:8080/a", 11),
        ("example.org:/a", 11),
        ("[::1]/a", 0),
        ("example.org?x", 11),
        ("example.org#f", 11),
        ("ex%61mple.org/a", 2),
        ("%F0%9F%A4%AF/path", 0),
        ("EXAMPLE.org/a", 0),
        ("ä.org/a", 0),
        ("\u{435}xample.org/a", 0),
        ("example.org\n", 11),
        ("example.org\n/a", 11),
        (" /a", 0),
        ("a\0/a", 1),
    ] {
        assert_eq!(refused(&format!("spiffe://{name}")), E::TrustDomainCharacter { at }, "{name:?}");
    }
    for (segment, at) in [
        ("a?x=1", 1),
        ("a?", 1),
        ("a#f", 1),
        ("a#", 1),
        ("%61", 0),
        ("a ", 1),
        ("a\n", 1),
        ("a\0", 1),
        ("ä", 0),
        ("a\\b", 1),
    ] {
        let segment = segment.to_owned();
        let text = format!("spiffe://example.org/{segment}");
        assert_eq!(refused(&text), E::PathCharacter { segment, at }, "{text:?}");
    }
    assert_eq!(refused(&format!("spiffe://{}/x", "a".repeat(256))), E::TrustDomainTooLong { len: 256 });
    assert_eq!(refused(&format!("spiffe://td/{}", "p".repeat(2037))), E::TooLong { len: 2049 });
}

/// Threat 20: every byte, at both places where a name may have it.
#[test]
fn every_byte_in_trust_domain_and_path() {
    for byte in 0..=255u8 {
        // Bytes from 0x80 come as the characters of the same number, since an ID is text.
        let c = char::from(byte);
        let in_domain = matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        let in_path = in_domain || c.is_ascii_uppercase();
        for name in [format!("{c}a"), format!("a{c}"), format!("a{c}a")] {
            // A slash ends the name, and what follows is the path.
            let expected = in_domain || (c == '/' && !name.starts_with('/') && !name.ends_with('/'));
            assert_eq!(SpiffeId::parse(&format!("spiffe://{name}")).is_ok(), expected, "{name:?}");
            assert_eq!(TrustDomain::parse(&name).is_ok(), in_domain, "{name:?}");
        }
        for segment in [format!("{c}a"), format!("a{c}"), format!("a{c}a")] {
            let expected = in_path || (c == '/' && segment == "a/a");
            assert_eq!(SpiffeId::parse(&format!("spiffe://td/{segment}")).is_ok(), expected, "{segment:?}");
            let td = TrustDomain::parse("td").unwrap();
            assert_eq!(td.with_path(&format!("/{segment}")).is_ok(), expected, "{segment:?}");
        }
    }
}

#[test]
fn trust_domains() {
    for text in ["td", "spiffe://td", "spiffe://td/path"] {
        assert_eq!(TrustDomain::parse(text).unwrap().as_str(), "td");
    }
    for text in ["", "spiffe:/td/path", "BAD", "http://td", "spiffe://td/", "spiffe://", "td/path", "td:80", "a:/b"] {
        TrustDomain::parse(text).unwrap_err();
    }
    assert_eq!(TrustDomain::parse("td").unwrap().id().as_str(), "spiffe://td");
}

#[test]
fn paths_compare_with_case_and_reserved_ones_are_known() {
    let id = |path: &str| TrustDomain::parse("td").unwrap().with_path(path).unwrap();
    assert_ne!(id("/A"), id("/a"));
    assert_eq!(TrustDomain::parse("td").unwrap().with_path("a"), Err(SpiffeIdError::NoLeadingSlash));
    for (path, reserved) in
        [("/spire", true), ("/spire/server", true), ("/spires", false), ("/a/spire", false), ("", false)]
    {
        assert_eq!(id(path).is_reserved(), reserved, "{path}");
    }
}
