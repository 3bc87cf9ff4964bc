//! The bundle endpoint and the client of others' endpoints, put together from configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use plastron_server_core::Services;
use plastron_server_federation::{BundleClient, BundleEndpoint, CertificateFilesError, FollowedFiles};
use plastron_transport::{HttpsServerTls, IdentitySlot, WebRoots};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{EndpointSettings, FederationSettings, Presents};

/// Why there is no bundle endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FederationError {
    #[error("can't listen on {address} for the bundle endpoint")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("can't serve the bundle endpoint")]
    Files(#[from] CertificateFilesError),
    #[error("can't serve the bundle endpoint")]
    Tls(#[from] plastron_transport::TlsConfigError),
}

/// Bound, and not yet served.
pub(super) struct Federation {
    served: Option<Served>,
    client: Arc<BundleClient>,
}

struct Served {
    endpoint: BundleEndpoint,
    listener: TcpListener,
    tls: HttpsServerTls,
    files: Option<FollowedFiles>,
}

impl Federation {
    /// Reads certificate files and binds. `identity` is what the server presents.
    pub(super) async fn bind(
        FederationSettings { endpoint, federates_with }: FederationSettings,
        services: &Arc<Services>,
        identity: &Arc<IdentitySlot>,
    ) -> Result<Self, FederationError> {
        let served = match endpoint {
            Some(endpoint) => Some(Served::bind(endpoint, services, identity).await?),
            None => None,
        };
        let client = BundleClient::new(Arc::clone(services), federates_with, Arc::new(WebRoots::of_the_system));
        services.federation.set_refresher(Arc::clone(&client) as Arc<_>);
        Ok(Self { served, client })
    }

    /// Serves and fetches until `ended` is cancelled.
    pub(super) fn spawn(self, tasks: &TaskTracker, ended: &CancellationToken) {
        tasks.spawn(self.client.run(ended.clone()));
        if let Some(Served { endpoint, listener, tls, files }) = self.served {
            tasks.spawn(endpoint.serve(listener, tls, ended.clone()));
            if let Some(files) = files {
                tasks.spawn(files.follow(ended.clone()));
            }
        }
    }
}

impl Served {
    async fn bind(
        EndpointSettings { address, port, refresh_hint, presents }: EndpointSettings,
        services: &Arc<Services>,
        identity: &Arc<IdentitySlot>,
    ) -> Result<Self, FederationError> {
        let (tls, files) = match presents {
            Presents::Svid => (HttpsServerTls::presenting_svid(Arc::clone(identity))?, None),
            Presents::Files(files) => {
                let files = tokio::task::block_in_place(|| files.open())?;
                (HttpsServerTls::presenting_certificate(files.slot())?, Some(files))
            }
        };
        let listener = match address {
            Some(address) => bind(address, port).await?,
            // Both protocols where the machine has both.
            None => match bind(Ipv6Addr::UNSPECIFIED.into(), port).await {
                Ok(listener) => listener,
                Err(_no_ipv6) => bind(Ipv4Addr::UNSPECIFIED.into(), port).await?,
            },
        };
        let addr = listener.local_addr().map_or_else(|_| port.to_string(), |bound| bound.to_string());
        tracing::info!(addr, refresh_hint = ?refresh_hint, "Serving bundle endpoint");
        let source = Arc::clone(services);
        let endpoint = BundleEndpoint::new(Arc::new(move || source.bundles.current()), refresh_hint);
        Ok(Self { endpoint, listener, tls, files })
    }
}

async fn bind(address: IpAddr, port: u16) -> Result<TcpListener, FederationError> {
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address).await.map_err(|source| FederationError::Bind { address, source })
}
