//! The connection to the server's Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::CliError;
use crate::arguments::go_duration;

/// Where SPIRE's server listens by default.
const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-server/private/api.sock";

/// Lists of all entries or agents of a large server are bigger than gRPC's 4 MiB; the server pages them, this is only a backstop.
pub(crate) const MAX_MESSAGE_LEN: usize = 64 * 1024 * 1024;

/// What the environment says about sockets.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `SPIRE_SERVER_PRIVATE_SOCKET`
    pub socket: Option<String>,
    /// `SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE`
    pub socket_template: Option<String>,
}

impl Environment {
    /// Reads it once, at start.
    pub fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            socket: variable("SPIRE_SERVER_PRIVATE_SOCKET"),
            socket_template: variable("SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE"),
        }
    }
}

/// Which server, and for how long to wait.
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectionArgs {
    /// Path to the server's API socket
    #[arg(long = "socketPath", default_value = DEFAULT_SOCKET_PATH)]
    pub socket_path: String,
    /// Instance name to substitute into socket templates (env SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE)
    #[arg(long)]
    pub instance: Option<String>,
    /// How long to wait for each answer
    #[arg(long, default_value = "60s", value_parser = go_duration)]
    pub timeout: Duration,
}

impl ConnectionArgs {
    /// A flag other than the default, then the instance's socket, then the environment, then the default.
    fn path(&self, environment: &Environment) -> Result<PathBuf, CliError> {
        let template = environment.socket_template.as_deref();
        let by_instance = match &self.instance {
            None => None,
            Some(instance) => match template {
                Some(template) if template.contains("%i") => Some(template.replace("%i", instance)),
                _ => return Err(CliError::Instance),
            },
        };
        let path = if self.socket_path == DEFAULT_SOCKET_PATH {
            by_instance.or_else(|| environment.socket.clone()).unwrap_or_else(|| self.socket_path.clone())
        } else {
            self.socket_path.clone()
        };
        Ok(PathBuf::from(path))
    }

    /// Connects; an error names the socket.
    pub(crate) async fn connect(&self, environment: &Environment) -> Result<Channel, CliError> {
        let path = self.path(environment)?;
        let refused = |reason: String| CliError::Connect { path: path.clone(), reason };
        // Tried once by hand, because the channel's error hides what the system said.
        UnixStream::connect(&path).await.map_err(|error| refused(error.to_string()))?;
        let socket = path.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost")
            .timeout(self.timeout)
            .connect_timeout(self.timeout)
            .connect_with_connector(connector)
            .await
            .map_err(|error| refused(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(socket_path: &str, instance: Option<&str>) -> ConnectionArgs {
        let instance = instance.map(str::to_owned);
        ConnectionArgs { socket_path: socket_path.to_owned(), instance, timeout: Duration::from_secs(1) }
    }

    #[test]
    fn flag_then_instance_then_environment_then_default() {
        let environment = Environment { socket: Some("/env".into()), socket_template: Some("/t/%i/api".into()) };
        let path = |a: ConnectionArgs, e: &Environment| a.path(e).unwrap().to_str().unwrap().to_owned();
        assert_eq!(path(arguments("/flag", Some("a")), &environment), "/flag");
        assert_eq!(path(arguments(DEFAULT_SOCKET_PATH, Some("a")), &environment), "/t/a/api");
        assert_eq!(path(arguments(DEFAULT_SOCKET_PATH, None), &environment), "/env");
        assert_eq!(path(arguments(DEFAULT_SOCKET_PATH, None), &Environment::default()), DEFAULT_SOCKET_PATH);
        assert!(arguments(DEFAULT_SOCKET_PATH, Some("a")).path(&Environment::default()).is_err());
    }
}
