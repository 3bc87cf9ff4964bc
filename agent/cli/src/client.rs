//! A client of the Workload API: connects, and sends the security header with every request.

use hyper_util::rt::TokioIo;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tokio::net::{TcpStream, UnixStream};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use crate::endpoint::Endpoint;
use crate::error::CliError;

/// Adds `workload.spiffe.io: true`.
type Header = fn(Request<()>) -> Result<Request<()>, Status>;

/// A connected client.
pub type WorkloadApiClient = SpiffeWorkloadApiClient<InterceptedService<Channel, Header>>;

/// Connects to the Workload API.
pub async fn connect(endpoint: &Endpoint) -> Result<WorkloadApiClient, CliError> {
    let header: Header = |mut request| {
        request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
        Ok(request)
    };
    Ok(SpiffeWorkloadApiClient::new(InterceptedService::new(channel(endpoint).await?, header)))
}

/// Connects to whatever gRPC services the endpoint has.
pub(crate) async fn channel(endpoint: &Endpoint) -> Result<Channel, CliError> {
    // The authority is what clients of Unix sockets send.
    let authority = tonic::transport::Endpoint::from_static("http://localhost");
    let connected = match endpoint.clone() {
        Endpoint::Unix(path) => {
            let connector = service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            authority.connect_with_connector(connector).await
        }
        Endpoint::Tcp(address) => {
            let connector =
                service_fn(move |_: Uri| async move { TcpStream::connect(address).await.map(TokioIo::new) });
            authority.connect_with_connector(connector).await
        }
    };
    connected.map_err(|error| CliError::Connect { endpoint: endpoint.clone(), reason: innermost(&error) })
}

/// The system's words; the layers above only say that connecting failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
