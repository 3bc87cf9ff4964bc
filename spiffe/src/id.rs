//! SPIFFE IDs and trust domains (SPIFFE-ID.md, sections 2 and 3.1).
//!
//! A parser refuses; it never cleans or normalises. Upper-case schemes and trust domains are refused on input.

use std::fmt;
use std::sync::Arc;

/// Longest SPIFFE ID, in bytes (SPIFFE-ID.md, section 2.3).
pub const MAX_ID_LEN: usize = 2048;
/// Longest trust domain name, in bytes.
pub const MAX_TRUST_DOMAIN_LEN: usize = 255;

const SCHEME: &str = "spiffe://";

/// A trust domain's name, such as `example.org`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Accepts a bare name or a SPIFFE ID of which it takes the trust domain (`td`, `spiffe://td`, `spiffe://td/path`).
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.contains(":/") {
            return Ok(SpiffeId::parse(text)?.trust_domain);
        }
        Self::from_name(text)
    }

    fn from_name(name: &str) -> Result<Self, SpiffeIdError> {
        if name.is_empty() {
            return Err(SpiffeIdError::MissingTrustDomain);
        }
        if name.len() > MAX_TRUST_DOMAIN_LEN {
            return Err(SpiffeIdError::TrustDomainTooLong { len: name.len() });
        }
        match name.bytes().position(|b| !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
            Some(at) => Err(SpiffeIdError::TrustDomainCharacter { at }),
            None => Ok(Self(Arc::from(name))),
        }
    }

    /// The bare name, without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself, `spiffe://td`.
    pub fn id(&self) -> SpiffeId {
        SpiffeId { trust_domain: self.clone(), text: Arc::from(format!("{SCHEME}{}", self.0)) }
    }

    /// The ID with this path in the trust domain; `path` is empty or begins with `/`.
    pub fn with_path(&self, path: &str) -> Result<SpiffeId, SpiffeIdError> {
        check_path(path)?;
        let text = format!("{SCHEME}{}{path}", self.0);
        check_len(&text)?;
        Ok(SpiffeId { trust_domain: self.clone(), text: Arc::from(text) })
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

/// A SPIFFE ID: `spiffe://<trust domain>[/<path>]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    text: Arc<str>,
}

impl SpiffeId {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (name, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let trust_domain = TrustDomain::from_name(name)?;
        check_path(path)?;
        check_len(text)?;
        Ok(Self { trust_domain, text: Arc::from(text) })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path, empty or beginning with `/`.
    pub fn path(&self) -> &str {
        self.text.get(SCHEME.len() + self.trust_domain.0.len()..).unwrap_or_default()
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path is `/spire` or below it: IDs of servers and agents, which no registration entry may grant.
    pub fn is_reserved(&self) -> bool {
        let path = self.path();
        path == "/spire" || path.starts_with("/spire/")
    }

    /// Whether this ID names the trust domain itself.
    pub fn is_trust_domain(&self) -> bool {
        self.path().is_empty()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.text)
    }
}

fn check_len(text: &str) -> Result<(), SpiffeIdError> {
    if text.len() > MAX_ID_LEN {
        return Err(SpiffeIdError::TooLong { len: text.len() });
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Err(SpiffeIdError::NoLeadingSlash);
    };
    if path.ends_with('/') {
        return Err(SpiffeIdError::TrailingSlash);
    }
    for segment in segments.split('/') {
        match segment {
            "" => return Err(SpiffeIdError::EmptySegment),
            "." | ".." => return Err(SpiffeIdError::DotSegment),
            _ => {}
        }
        if let Some(at) =
            segment.bytes().position(|b| !matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        {
            return Err(SpiffeIdError::PathCharacter { segment: segment.to_owned(), at });
        }
    }
    Ok(())
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It does not begin with `spiffe://`.
    #[error("scheme is missing or not \"spiffe\"")]
    Scheme,
    /// Nothing between `spiffe://` and the path.
    #[error("trust domain is missing")]
    MissingTrustDomain,
    /// A byte outside `[a-z0-9._-]`, which also excludes user information, ports and percent-encoding.
    #[error(
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores; byte {at} is none of them"
    )]
    TrustDomainCharacter {
        /// Index of the byte in the name.
        at: usize,
    },
    /// A trust domain name of more than 255 bytes.
    #[error("trust domain has {len} bytes, of at most {MAX_TRUST_DOMAIN_LEN}")]
    TrustDomainTooLong {
        /// Its length.
        len: usize,
    },
    /// More than 2048 bytes in all.
    #[error("SPIFFE ID has {len} bytes, of at most {MAX_ID_LEN}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// A path that does not begin with `/`.
    #[error("path must have a leading slash")]
    NoLeadingSlash,
    /// A path that ends in `/`.
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// `//`.
    #[error("path cannot contain empty segments")]
    EmptySegment,
    /// `/.` or `/..`.
    #[error("path cannot contain dot segments")]
    DotSegment,
    /// A byte outside `[a-zA-Z0-9._-]`, which also excludes queries, fragments and percent-encoding.
    #[error(
        "path segment characters are limited to letters, numbers, dots, dashes, and underscores; byte {at} of {segment:?} is none of them"
    )]
    PathCharacter {
        /// The segment.
        segment: String,
        /// Index of the byte in it.
        at: usize,
    },
}
