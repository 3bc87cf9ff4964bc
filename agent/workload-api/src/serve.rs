//! The server on the socket: the Workload API behind its header; Envoy's SDS and health without.

use std::path::Path;

use plastron_proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use plastron_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use plastron_transport::{BindError, CountCalls, CountedCalls, SocketModes, TooLongLayer, UnixSocket, unix_server};
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic_health::pb::health_server::HealthServer;

use crate::health::AgentHealth;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, DRAIN_TIMEOUT, MAX_HEADER_LIST_BYTES, MAX_HEALTH_REQUEST_BYTES, MAX_REQUEST_BYTES,
    MAX_REQUESTS_AT_ONCE, MAX_SDS_REQUEST_BYTES, MAX_STREAMS_PER_CONNECTION, STREAM_WINDOW_BYTES,
};
use crate::sds::{SdsSettings, SecretDiscovery, StreamPlaces};
use crate::service::WorkloadApi;
use crate::{header, reflection};

const HEALTH: &str = HealthServer::<AgentHealth>::NAME;
const WORKLOAD_API: &str = SpiffeWorkloadApiServer::<WorkloadApi>::NAME;
const SDS: &str = SecretDiscoveryServiceServer::<SecretDiscovery>::NAME;

/// A bound socket with the Workload API behind it.
pub struct WorkloadApiServer {
    socket: UnixSocket,
    api: WorkloadApi,
    offers: Offers,
}

/// What the socket offers besides health. SPIRE's default is both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// The SPIFFE Workload API; unless `disable_workload_api`.
    pub workload_api: bool,
    /// Envoy's SDS, and how it answers; unless `disable_sds_api`.
    pub sds: Option<SdsSettings>,
}

impl Default for Offers {
    fn default() -> Self {
        Self { workload_api: true, sds: Some(SdsSettings::default()) }
    }
}

impl WorkloadApiServer {
    /// Binds the socket, open to every local user; missing folders are made. Clients can connect from here on, and are answered by
    /// [`Self::serve`].
    pub fn bind(path: &Path, api: WorkloadApi) -> Result<Self, ServeError> {
        Ok(Self { socket: UnixSocket::bind(path, SocketModes::PUBLIC)?, api, offers: Offers::default() })
    }

    /// Offers this instead of everything. What is not offered is `Unimplemented`.
    pub fn offering(self, offers: Offers) -> Self {
        Self { offers, ..self }
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Serves until `stop` resolves; then every open stream is told that the agent shuts down, and the socket's file is removed.
    ///
    /// The health service says SERVING once the agent has synchronised with its server for the first time.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { socket, api, offers } = self;
        let path = socket.path().to_owned();
        let health = HealthServer::new(AgentHealth { identities: api.identities().clone(), stop: api.stopping() })
            .max_decoding_message_size(MAX_HEALTH_REQUEST_BYTES);
        let mut names = vec![HEALTH, "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
        names.extend(offers.workload_api.then_some(WORKLOAD_API));
        names.extend(offers.sds.as_ref().map(|_| SDS));
        let (reflection, reflection_alpha) = reflection::services(&names)?;
        let workload_api = offers.workload_api.then(|| {
            let service = SpiffeWorkloadApiServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
            InterceptedService::new(service, header::require)
        });
        let places = StreamPlaces::new();
        let sds = offers.sds.map(|settings| {
            let service = SecretDiscoveryServiceServer::new(SecretDiscovery::new(api.clone(), settings))
                .max_decoding_message_size(MAX_SDS_REQUEST_BYTES);
            InterceptedService::new(service, move |request| places.admit(request))
        });
        let (drain, drained) = tokio::sync::oneshot::channel::<()>();
        let server = unix_server()
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            .concurrency_limit_per_connection(MAX_REQUESTS_AT_ONCE)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .layer(CountCalls(counted()))
            .layer(TooLongLayer)
            .add_optional_service(workload_api)
            .add_optional_service(sds)
            .add_service(health)
            .add_service(reflection)
            .add_service(reflection_alpha)
            .serve_with_incoming_shutdown(socket.incoming().map_err(ServeError::Listen)?, async {
                // An error means that the other half is gone, and with it whoever would wait.
                let _ = drained.await;
            });
        tokio::pin!(server);
        tracing::info!(address = %path.display(), "Starting agent APIs");
        tokio::select! {
            ended = &mut server => return ended.map_err(ServeError::Serve),
            () = stop => {}
        }
        api.stop();
        let _ = drain.send(());
        match tokio::time::timeout(DRAIN_TIMEOUT, server).await {
            Ok(ended) => ended.map_err(ServeError::Serve),
            // Who does not read its last word is cut off.
            Err(_elapsed) => Ok(()),
        }
    }
}

/// Counts the calls of the APIs on this socket.
pub(crate) fn counted() -> CountedCalls {
    crate::counted::counted(&[WORKLOAD_API, SDS, HEALTH]).with_connections(&[
        ("/SpiffeWorkloadAPI/", "workload_api.connection", "workload_api.connections"),
        // SPIRE's own counter has the gauge's name, which Prometheus can't hold.
        ("/envoy.service.secret.v3.SecretDiscoveryService/", "sds_api.connection", "sds_api.connections"),
    ])
}

/// Why the Workload API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket can't be bound.
    #[error("can't bind the Workload API's socket")]
    Bind(#[from] BindError),
    /// The descriptors of the services can't be used.
    #[error("can't serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The bound socket can't be listened on.
    #[error("can't listen on the Workload API's socket")]
    Listen(#[source] std::io::Error),
    /// The server ended.
    #[error("the Workload API's server ended")]
    Serve(#[source] tonic::transport::Error),
}
