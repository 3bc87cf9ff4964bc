//! `trust_bundle_url` with `trust_bundle_unix_socket`: `http`, because the socket's path says who answers.

use std::fmt;

use http::Uri;

/// Parameters that begin so are the agent's own.
const RESERVED: [&str; 2] = ["spiffe-", "spire-"];

/// What a service on a Unix socket is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalUrl {
    uri: Uri,
}

impl LocalUrl {
    /// Checks, in order: that it is a URL; the scheme; a host; no user information; parameters.
    pub fn parse(text: &str) -> Result<Self, LocalUrlError> {
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(LocalUrlError::Malformed)?;
        if uri.scheme_str() != Some("http") {
            return Err(LocalUrlError::Scheme);
        }
        let authority = uri.authority().ok_or(LocalUrlError::Host)?;
        if authority.as_str().contains('@') {
            return Err(LocalUrlError::UserInfo);
        }
        let parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        for (name, _value) in parameters {
            if let Some(prefix) = RESERVED.into_iter().find(|prefix| name.starts_with(prefix)) {
                return Err(LocalUrlError::Reserved { prefix });
            }
        }
        Ok(Self { uri })
    }

    /// Host and, where it is given, port.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("localhost", |authority| authority.as_str())
    }

    /// Path and query with these parameters besides its own.
    pub(crate) fn path_and_query(&self, parameters: &[(&'static str, String)]) -> String {
        let mut query = form_urlencoded::Serializer::new(self.uri.query().unwrap_or_default().to_owned());
        query.extend_pairs(parameters);
        format!("{}?{}", self.uri.path(), query.finish())
    }
}

impl fmt::Display for LocalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for LocalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalUrl({})", self.uri)
    }
}

/// Why a text is no URL for a service on a Unix socket. The words are SPIRE's.
#[derive(Debug, thiserror::Error)]
pub enum LocalUrlError {
    /// No URL.
    #[error("unable to parse trust bundle URL: {0}")]
    Malformed(#[source] http::uri::InvalidUri),
    /// Not http.
    #[error("trust bundle URL must start with http:// when used with trust bundle unix socket")]
    Scheme,
    /// No host.
    #[error("trust bundle URL must name a host, such as localhost")]
    Host,
    /// User name or password.
    #[error("trust bundle URL must not contain user info")]
    UserInfo,
    /// A parameter that is the agent's.
    #[error("trust_bundle_url query params can not start with {prefix}")]
    Reserved {
        /// How it begins.
        prefix: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_to_those_of_the_url() {
        let told = [("spire-server-address", "a b&c".to_owned())];
        for (text, asked) in [
            ("http://localhost/bundle", "/bundle?spire-server-address=a+b%26c"),
            ("http://localhost", "/?spire-server-address=a+b%26c"),
            ("http://localhost:80/b?x=1#y", "/b?x=1&spire-server-address=a+b%26c"),
        ] {
            assert_eq!(LocalUrl::parse(text).unwrap().path_and_query(&told), asked, "{text}");
        }
        assert_eq!(LocalUrl::parse("http://localhost:80/b").unwrap().authority(), "localhost:80");
    }

    #[test]
    fn whatever_is_no_url_for_a_socket_is_refused_by_name() {
        for (text, words) in [
            ("https://localhost/bundle", "must start with http://"),
            ("/bundle", "must start with http://"),
            ("http://a:b@localhost/", "user info"),
            ("http://local host/", "unable to parse"),
            ("http://localhost/?spire-x=1", "can not start with spire-"),
            ("http://localhost/?a=b&spiffe%2Dtrust-domain=evil", "can not start with spiffe-"),
        ] {
            let refused = LocalUrl::parse(text).unwrap_err().to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }
}
