//! `trust_bundle_spiffe_workload_api`: the bundle of the own trust domain as another agent gives it to its workloads, of which this agent is
//! one (SPIFFE_Workload_API.md, section 5.2.2).

use std::time::Duration;

use hyper_util::rt::TokioIo;
use plastron_proto::workload::X509BundlesRequest;
use plastron_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use plastron_spiffe::bundle::MAX_DOCUMENT_LEN;
use plastron_spiffe::{Bundle, BundleError, TrustDomain};
use plastron_transport::unix_channel;
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tower::service_fn;

use crate::Endpoint;

/// SPIRE's limit. The other agent may be starting.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Bundles of many federated domains come along.
const MAX_MESSAGE_LEN: usize = 4 * MAX_DOCUMENT_LEN;

pub(crate) async fn fetch(endpoint: &Endpoint, trust_domain: &TrustDomain) -> Result<Bundle, WorkloadApiError> {
    tokio::time::timeout(FETCH_TIMEOUT, ask(endpoint, trust_domain)).await.map_err(|_| WorkloadApiError::TimedOut)?
}

async fn ask(endpoint: &Endpoint, trust_domain: &TrustDomain) -> Result<Bundle, WorkloadApiError> {
    let mut client = SpiffeWorkloadApiClient::new(channel(endpoint)).max_decoding_message_size(MAX_MESSAGE_LEN);
    let mut request = Request::new(X509BundlesRequest {});
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut stream = client.fetch_x509_bundles(request).await?.into_inner();
    let mut response = stream.message().await?.ok_or(WorkloadApiError::Ended)?;
    let none = || WorkloadApiError::NoBundle { trust_domain: trust_domain.clone() };
    let certificates = response.bundles.remove(&trust_domain.id().to_string()).ok_or_else(none)?;
    Bundle::from_x509_authorities_der(trust_domain.clone(), &certificates).map_err(WorkloadApiError::Bundle)
}

fn channel(endpoint: &Endpoint) -> Channel {
    match endpoint.clone() {
        Endpoint::Unix(path) => unix_channel(path),
        Endpoint::Tcp(address) => tonic::transport::Endpoint::from_static("http://localhost")
            .connect_with_connector_lazy(service_fn(move |_| async move {
                TcpStream::connect(address).await.map(TokioIo::new)
            })),
    }
}

/// Why another agent gave no bundle.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiError {
    /// It refused, or is not there.
    #[error("it answers {:?}: {:?}; see whether it runs, and has an entry for this agent's process", .0.code(), .0.message())]
    Refused(#[from] Box<Status>),
    /// It ended the stream.
    #[error("it ended the stream without an answer")]
    Ended,
    /// It has none of the domain.
    #[error("it did not provide a trust bundle for trust domain {trust_domain}: it is of another one")]
    NoBundle {
        /// The domain.
        trust_domain: TrustDomain,
    },
    /// It gave something else.
    #[error("what it gives is no bundle")]
    Bundle(#[source] BundleError),
    /// Too slow.
    #[error("it gave no answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
}

impl From<Status> for WorkloadApiError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}
