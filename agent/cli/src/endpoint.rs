//! Where the Workload API is: flags, environment, default, and the address forms of SPIFFE_Workload_Endpoint.md, section 4.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;

/// SPIRE's default.
pub const DEFAULT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";

/// The environment variables that say where the socket is, as the program found them.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `SPIRE_AGENT_PUBLIC_SOCKET`: a path.
    pub agent_public_socket: Option<String>,
    /// `SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE`: a path in which `%i` stands for `-instance`.
    pub agent_public_socket_template: Option<String>,
    /// `SPIFFE_ENDPOINT_SOCKET`: an address.
    pub spiffe_endpoint_socket: Option<String>,
}

impl Environment {
    /// Picks the variables out of an environment (`|name| std::env::var(name).ok()`).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        Self {
            agent_public_socket: set("SPIRE_AGENT_PUBLIC_SOCKET"),
            agent_public_socket_template: set("SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE"),
            spiffe_endpoint_socket: set("SPIFFE_ENDPOINT_SOCKET"),
        }
    }
}

/// Which socket, on the command line.
#[derive(Debug, Default, Args)]
pub(crate) struct SocketFlags {
    /// Path of the agent's API socket [default: SPIRE_AGENT_PUBLIC_SOCKET, SPIFFE_ENDPOINT_SOCKET, /tmp/spire-agent/public/api.sock]
    #[arg(long = "socketPath", alias = "socket-path", value_name = "PATH")]
    pub(crate) socket_path: Option<String>,
    /// Instance name, put for %i into SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
}

/// An address of the Workload API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// IP address and port.
    Tcp(SocketAddr),
}

impl Endpoint {
    /// The flag; else the instance in the template; else the path variable; else the standard's variable; else the default.
    pub(crate) fn choose(flags: &SocketFlags, environment: &Environment) -> Result<Self, AddressError> {
        let template = environment.agent_public_socket_template.as_deref().filter(|template| template.contains("%i"));
        Ok(match (&flags.socket_path, &flags.instance, template) {
            (Some(path), _, _) if path.contains("://") || path.starts_with("unix:") => Self::parse(path)?,
            (Some(path), _, _) => Self::Unix(path.into()),
            (None, Some(instance), Some(template)) => Self::Unix(template.replace("%i", instance).into()),
            (None, Some(instance), None) => return Err(AddressError::NoTemplate { instance: instance.clone() }),
            (None, None, _) => match (&environment.agent_public_socket, &environment.spiffe_endpoint_socket) {
                (Some(path), _) => Self::Unix(path.into()),
                (None, Some(address)) => Self::parse(address)?,
                (None, None) => Self::Unix(DEFAULT_SOCKET.into()),
            },
        })
    }

    /// Parses `unix:/path`, `unix:///path`, `tcp://1.2.3.4:5` or `tcp://[::1]:5`, and nothing else.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let refuse = |reason| AddressError::Malformed { text: text.to_owned(), reason };
        if text.contains(['?', '#']) {
            return Err(refuse("it has a query or a fragment"));
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = match rest.strip_prefix("//") {
                Some(path) if !path.starts_with('/') => return Err(refuse("a unix address has no host")),
                Some(path) => path,
                None => rest,
            };
            if !Path::new(path).is_absolute() || path == "/" {
                return Err(refuse("a unix address needs an absolute path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let Some(rest) = text.strip_prefix("tcp://") else {
            return Err(refuse("its scheme is neither unix: nor tcp://"));
        };
        // The standard wants an IP address: a name would have to be resolved, and anyone may answer.
        rest.parse::<SocketAddr>().map(Self::Tcp).map_err(|_| match rest.parse::<IpAddr>() {
            Ok(_) => refuse("a tcp address needs a port"),
            Err(_) => refuse("a tcp address is an IP address and a port"),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.to_string_lossy().escape_debug()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is no address.
    #[error("{text:?} is not an address of the Workload API: {reason}; write unix:///path or tcp://IP:PORT")]
    Malformed {
        /// The input.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `-instance` needs a template.
    #[error("-instance {instance:?} needs SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE with %i in it")]
    NoTemplate {
        /// The flag's value.
        instance: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_standard_are_read() {
        let unix = |path: &str| Ok(Endpoint::Unix(path.into()));
        assert_eq!(Endpoint::parse("unix:///run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Endpoint::parse("unix:/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Endpoint::parse("tcp://127.0.0.1:8000"), Ok(Endpoint::Tcp(([127, 0, 0, 1], 8000).into())));
        assert_eq!(Endpoint::parse("tcp://[::1]:8000"), Ok(Endpoint::Tcp("[::1]:8000".parse().unwrap())));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "/run/a.sock",
            "unix:a",
            "unix:",
            "unix://",
            "unix:///",
            "unix://foo",
            "unix://host/run/a.sock",
            "unix:///a?x",
            "unix:///a#x",
            "unix://u@h/p",
            "tcp://",
            "tcp://1.2.3.4",
            "tcp://foo:80",
            "tcp://1.2.3.4:5/p",
            "tcp://1.2.3.4:5?q",
            "tcp://1.2.3.4:5#f",
            "tcp://u:p@1.2.3.4:5",
            "tcp:1.2.3.4:5",
            "http://1.2.3.4:5",
            "blah",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_spire_over_spiffe() {
        let environment = Environment {
            agent_public_socket: Some("/public".to_owned()),
            agent_public_socket_template: Some("/run/%i/api.sock".to_owned()),
            spiffe_endpoint_socket: Some("unix:///spiffe".to_owned()),
        };
        let flags = |path: Option<&str>, instance: Option<&str>| SocketFlags {
            socket_path: path.map(str::to_owned),
            instance: instance.map(str::to_owned),
        };
        let chosen = |flags, environment| Endpoint::choose(&flags, &environment).unwrap().to_string();
        assert_eq!(chosen(flags(Some("/flag"), Some("a")), environment.clone()), "/flag");
        assert_eq!(chosen(flags(Some("unix:///flag"), None), environment.clone()), "/flag");
        assert_eq!(chosen(flags(None, Some("a")), environment.clone()), "/run/a/api.sock");
        assert_eq!(chosen(flags(None, None), environment.clone()), "/public");
        assert_eq!(chosen(flags(None, None), Environment { agent_public_socket: None, ..environment }), "/spiffe");
        assert_eq!(chosen(flags(None, None), Environment::default()), DEFAULT_SOCKET);
        assert!(Endpoint::choose(&flags(None, Some("a")), &Environment::default()).is_err());
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let environment =
            Environment::from_lookup(|name| Some(if name == "SPIFFE_ENDPOINT_SOCKET" { "unix:/a" } else { "" }.into()));
        assert_eq!(environment.agent_public_socket, None);
        assert_eq!(environment.spiffe_endpoint_socket.as_deref(), Some("unix:/a"));
    }
}
