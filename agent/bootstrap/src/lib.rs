//! Where an agent gets the bundle to begin with: a file, a URL, a service on this machine, or another agent's Workload API (SPIRE:
//! `pkg/agent/trustbundlesources`, the keys `trust_bundle_*`).
//!
//! Whoever controls the source names the server that the agent attests to, and all that it believes from then on. So there is no source that
//! believes whoever answers: a URL is `https`, verified by the system's roots; everything else is a path on this machine.

mod document;
mod local_url;
mod workload_api;

use std::net::SocketAddr;
use std::path::PathBuf;

use plastron_agent_core::{BootstrapAttempt, BootstrapError, BootstrapSource};
use plastron_spiffe::{Bundle, BundleEndpointUrl, BundleError, TrustDomain};
use plastron_transport::{HttpGetError, HttpsClientTls, Requester, WebRoots, WebRootsError, fetch_https, fetch_unix};

pub use document::BundleFormat;
pub use local_url::{LocalUrl, LocalUrlError};
pub use workload_api::WorkloadApiError;

const REQUESTER: Requester =
    Requester { user_agent: concat!("plastron-agent/", env!("CARGO_PKG_VERSION")), accept: "*/*" };

/// One of SPIRE's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `trust_bundle_path`.
    File {
        /// The file.
        path: PathBuf,
        /// What it holds.
        format: BundleFormat,
    },
    /// `trust_bundle_url`.
    Url {
        /// Whose certificate the system's roots must lead to.
        url: BundleEndpointUrl,
        /// What it answers.
        format: BundleFormat,
    },
    /// `trust_bundle_url` with `trust_bundle_unix_socket`.
    Local {
        /// Where the service listens.
        socket: PathBuf,
        /// What it is asked for.
        url: LocalUrl,
        /// What it answers.
        format: BundleFormat,
    },
    /// `trust_bundle_spiffe_workload_api`.
    WorkloadApi(Endpoint),
}

/// Where a Workload API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

/// A source, and what it may be told.
#[derive(Clone, Debug)]
pub struct ConfiguredSource {
    /// Which one.
    pub source: Source,
    /// Whose bundle it is to give.
    pub trust_domain: TrustDomain,
    /// Name or address of the server.
    pub server_address: String,
    /// Its port.
    pub server_port: u16,
}

#[async_trait::async_trait]
impl BootstrapSource for ConfiguredSource {
    async fn bundle(&self, attempt: BootstrapAttempt) -> Result<Bundle, BootstrapError> {
        self.get(attempt).await.map_err(|error| BootstrapError(Box::new(error)))
    }
}

impl ConfiguredSource {
    /// The same, with the error that says why not.
    pub async fn get(&self, attempt: BootstrapAttempt) -> Result<Bundle, SourceError> {
        let own = || self.trust_domain.clone();
        match &self.source {
            Source::File { path, format } => {
                let document =
                    document::read(path).map_err(|source| SourceError::File { path: path.clone(), source })?;
                let parsed = format.parse(own(), &document);
                parsed.map_err(|source| SourceError::FileContent { path: path.clone(), source })
            }
            Source::Url { url, format } => {
                let from = || url.as_str().to_owned();
                // Read anew each time, so that what an operator installs counts at once.
                let roots = tokio::task::spawn_blocking(WebRoots::of_the_system).await;
                let roots = roots.map_err(|_panic| SourceError::Interrupted)?;
                let roots = roots.map_err(|source| SourceError::Roots { url: from(), source })?;
                let document = fetch_https(url, &HttpsClientTls::Web(roots), REQUESTER).await;
                let document = document.map_err(|source| SourceError::Url { url: from(), source: source.into() })?;
                let parsed = format.parse(own(), &document);
                parsed.map_err(|source| SourceError::UrlContent { url: from(), source })
            }
            Source::Local { socket, url, format } => {
                let from = || format!("{url} at {}", socket.display());
                let asked = url.path_and_query(&self.told(attempt));
                let document = fetch_unix(socket, url.authority(), &asked, REQUESTER).await;
                let document = document.map_err(|source| SourceError::Local { from: from(), source: source.into() })?;
                let parsed = format.parse(own(), &document);
                parsed.map_err(|source| SourceError::UrlContent { url: from(), source })
            }
            Source::WorkloadApi(endpoint) => {
                let fetched = workload_api::fetch(endpoint, &self.trust_domain).await;
                fetched.map_err(|source| SourceError::WorkloadApi { endpoint: endpoint.clone(), source })
            }
        }
    }

    /// What a service on this machine is told (SPIRE's parameters), by which it can choose whom to ask in turn.
    fn told(&self, attempt: BootstrapAttempt) -> [(&'static str, String); 6] {
        let BootstrapAttempt { reason, number, since } = attempt;
        [
            ("spiffe-trust-domain", self.trust_domain.to_string()),
            ("spire-attest-mode", reason.name().to_owned()),
            ("spire-attest-start-time", document::rfc3339(since)),
            ("spire-connection-attempts", number.to_string()),
            ("spire-server-address", self.server_address.clone()),
            ("spire-server-port", self.server_port.to_string()),
        ]
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why a source gave no bundle.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file can't be read.
    #[error("can't read the trust bundle {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("the trust bundle {} can't be used", path.display())]
    FileContent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// There is nobody to verify the URL's server by.
    #[error("the server of trust_bundle_url {url} can't be verified: install ca-certificates or set SSL_CERT_FILE")]
    Roots {
        /// The URL.
        url: String,
        /// Why.
        source: WebRootsError,
    },
    /// The URL gave nothing.
    #[error(
        "unable to fetch trust bundle URL {url}; its server must show a certificate that the system's roots verify"
    )]
    Url {
        /// The URL.
        url: String,
        /// Why.
        source: Box<HttpGetError>,
    },
    /// The service on this machine gave nothing.
    #[error("unable to fetch trust bundle URL {from}; see whether its service runs and answers this agent's user")]
    Local {
        /// The URL, and the socket.
        from: String,
        /// Why.
        source: Box<HttpGetError>,
    },
    /// It gave something else.
    #[error("what trust bundle URL {url} answers is no bundle; see whether trust_bundle_format fits")]
    UrlContent {
        /// The URL.
        url: String,
        /// Why.
        source: BundleError,
    },
    /// The other agent gave nothing.
    #[error("unable to fetch trust bundle from SPIFFE Workload API {endpoint}")]
    WorkloadApi {
        /// Where it is.
        endpoint: Endpoint,
        /// Why.
        source: WorkloadApiError,
    },
    /// The thread that read the roots ended.
    #[error("the task that read the roots of the web PKI was interrupted")]
    Interrupted,
}
