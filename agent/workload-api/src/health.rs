//! `grpc.health.v1.Health`, for probes: no security header, no attestation. Serving means that workloads are answered from what the agent
//! got at its first synchronisation or later; that its server is away for the moment is no reason to start it anew.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use plastron_agent_core::{Readiness, WorkloadIdentities};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::refusal::Refusal;

pub(crate) struct AgentHealth {
    pub(crate) identities: WorkloadIdentities,
    pub(crate) stop: CancellationToken,
}

fn answer(identities: &WorkloadIdentities) -> HealthCheckResponse {
    let status = match identities.readiness() {
        Readiness::Starting => ServingStatus::NotServing,
        // A node that is shut out answers its workloads, and what it answers is that they have no identity.
        Readiness::Ready | Readiness::CutOff => ServingStatus::Serving,
    };
    HealthCheckResponse { status: status.into() }
}

fn asks_for_the_whole(request: &HealthCheckRequest) -> Result<(), Status> {
    if request.service.is_empty() { Ok(()) } else { Err(Refusal::OneServicesHealth.into()) }
}

#[tonic::async_trait]
impl Health for AgentHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        asks_for_the_whole(request.get_ref())?;
        Ok(Response::new(answer(&self.identities)))
    }

    /// The first answer at once, then one where it changes, until the agent stops.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        asks_for_the_whole(request.get_ref())?;
        let begun = (self.identities.clone(), self.identities.publications(), self.stop.clone(), None);
        Ok(Response::new(Box::pin(unfold(Some(begun), |watch| async move {
            let (identities, mut publications, stop, last) = watch?;
            loop {
                let now = answer(&identities);
                if last.as_ref() != Some(&now) {
                    return Some((Ok(now), Some((identities, publications, stop, Some(now)))));
                }
                let goes_on = tokio::select! {
                    goes_on = publications.next() => goes_on,
                    () = stop.cancelled() => false,
                };
                if !goes_on {
                    return Some((Err(Refusal::ShuttingDown.into()), None));
                }
            }
        }))))
    }
}
