//! Which foreign trust domains a server federates with, and how it fetches their bundles (SPIFFE_Federation.md, section 5).

use std::fmt;

use crate::{SpiffeId, TrustDomain};

/// Longest URL of a bundle endpoint, in bytes.
pub const MAX_ENDPOINT_URL_LEN: usize = 2048;

/// How the bundle of a foreign trust domain is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationRelationship {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// Where it is.
    pub bundle_endpoint_url: BundleEndpointUrl,
    /// How the endpoint proves itself.
    pub profile: EndpointProfile,
}

/// How a bundle endpoint proves itself (SPIFFE_Federation.md, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointProfile {
    /// By a certificate for the URL's host, of a public CA (`https_web`).
    HttpsWeb,
    /// By the X.509-SVID of this ID (`https_spiffe`). Its trust domain may be another one than the bundle's.
    HttpsSpiffe {
        /// The endpoint's SPIFFE ID.
        id: SpiffeId,
    },
}

/// The URL of a bundle endpoint: `https`, with a host and without user information. Kept as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BundleEndpointUrl {
    text: String,
    authority: std::ops::Range<usize>,
    host: std::ops::Range<usize>,
}

impl BundleEndpointUrl {
    /// Checks, in order: length; characters; scheme; no user information; a host; a port, where there is one, from 1 to 65,535.
    pub fn parse(text: &str) -> Result<Self, EndpointUrlError> {
        if text.len() > MAX_ENDPOINT_URL_LEN {
            return Err(EndpointUrlError::TooLong { len: text.len() });
        }
        if let Some(at) = text.bytes().position(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&b)) {
            return Err(EndpointUrlError::Character { at });
        }
        let (scheme, rest) = text.split_once("://").ok_or(EndpointUrlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(EndpointUrlError::Scheme);
        }
        let begin = text.len() - rest.len();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(EndpointUrlError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        if let Some(port) = port
            && !(port.bytes().all(|b| b.is_ascii_digit()) && matches!(port.parse::<u16>(), Ok(1..)))
        {
            return Err(EndpointUrlError::Port);
        }
        let host = begin..begin + host.len();
        Ok(Self { text: text.to_owned(), authority: begin..begin + authority.len(), host })
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and, where it is given, port: `example.org:8443`, `[2001:db8::1]`.
    pub fn authority(&self) -> &str {
        self.text.get(self.authority.clone()).unwrap_or_default()
    }

    /// The host: a name, or an address without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.text.get(self.host.clone()).unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port: 443 where none is given.
    pub fn port(&self) -> u16 {
        let after_host = self.text.get(self.host.end..self.authority.end).unwrap_or_default();
        after_host.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(443)
    }

    /// Path and query, as a request names them: begins with `/`, has no fragment.
    pub fn path_and_query(&self) -> String {
        let rest = self.text.get(self.authority.end..).unwrap_or_default();
        let rest = rest.split('#').next().unwrap_or_default();
        if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }
    }
}

/// Host, with the brackets of IPv6, and port. Refuses an empty host.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), EndpointUrlError> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or(EndpointUrlError::Host)? + 1;
        let (host, rest) = authority.split_at(end);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or_default();
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(EndpointUrlError::Host);
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(EndpointUrlError::Host),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() || (!host.starts_with('[') && host.contains(['[', ']'])) {
        return Err(EndpointUrlError::Host);
    }
    Ok((host, port))
}

impl fmt::Display for BundleEndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BundleEndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleEndpointUrl({})", self.text)
    }
}

/// Why a text is not the URL of a bundle endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// Too long.
    #[error("bundle endpoint URL has {len} bytes, of at most {MAX_ENDPOINT_URL_LEN}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// A character that no URL has.
    #[error("failed to parse bundle endpoint URL: byte {at} is not allowed in a URL")]
    Character {
        /// Index of the byte.
        at: usize,
    },
    /// Not https.
    #[error("bundle endpoint URL must use the https scheme")]
    Scheme,
    /// User name or password.
    #[error("bundle endpoint URL must not contain user info")]
    UserInfo,
    /// No host, or one that is none.
    #[error("bundle endpoint URL must specify the host")]
    Host,
    /// Not a port.
    #[error("failed to parse bundle endpoint URL: the port is not a number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_good_urls() {
        for (text, authority, host, port, path) in [
            ("https://example.org", "example.org", "example.org", 443, "/"),
            ("HTTPS://example.org:8443/", "example.org:8443", "example.org", 8443, "/"),
            ("https://example.org?a=b", "example.org", "example.org", 443, "/?a=b"),
            ("https://10.0.0.1/b/c?d=e#f", "10.0.0.1", "10.0.0.1", 443, "/b/c?d=e"),
            ("https://[2001:db8::1]:8443/x", "[2001:db8::1]:8443", "2001:db8::1", 8443, "/x"),
            ("https://[::1]", "[::1]", "::1", 443, "/"),
        ] {
            let url = BundleEndpointUrl::parse(text).unwrap();
            let parts = (url.authority(), url.host(), url.port(), url.path_and_query());
            assert_eq!(parts, (authority, host, port, path.to_owned()), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        use EndpointUrlError::{Character, Host, Port, Scheme, TooLong, UserInfo};
        for (text, error) in [
            ("", Scheme),
            ("example.org", Scheme),
            ("http://example.org", Scheme),
            ("https:example.org", Scheme),
            ("https://", Host),
            ("https:///path", Host),
            ("https://:8443", Host),
            ("https://[::1", Host),
            ("https://[nonsense]", Host),
            ("https://[::1]x", Host),
            ("https://[[::1]", Host),
            ("https://[[::1]:8443", Host),
            ("https://a]b", Host),
            ("https://user@example.org", UserInfo),
            ("https://user:password@example.org", UserInfo),
            ("https://@example.org", UserInfo),
            ("https://example.org:", Port),
            ("https://example.org:0", Port),
            ("https://example.org:+443", Port),
            ("https://example.org:65536", Port),
            ("https://::1", Host),
            ("https://a:1:2", Port),
            ("https://exa mple.org", Character { at: 11 }),
            ("https://example.org/\n", Character { at: 20 }),
            ("https://ex\u{e4}mple.org", Character { at: 10 }),
        ] {
            assert_eq!(BundleEndpointUrl::parse(text), Err(error), "{text:?}");
        }
        let long = format!("https://example.org/{}", "x".repeat(2048));
        assert_eq!(BundleEndpointUrl::parse(&long), Err(TooLong { len: 2068 }));
    }
}
