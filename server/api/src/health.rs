//! `grpc.health.v1.Health`, on the Unix socket: serving means that the CA key has just made a signature.

use std::pin::Pin;

use futures_util::Stream;
use plastron_server_core::authorization::rpc;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::context::Context;
use crate::status::explain;

pub(crate) struct HealthService(pub(crate) Context);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let _permit = self.0.permit::<rpc::HealthCheck, _>(&request).await?;
        if !request.get_ref().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        let status = match self.0.services.health.check().await {
            Ok(()) => ServingStatus::Serving,
            Err(error) => {
                tracing::warn!(reason = explain(&error), "Server is unhealthy");
                ServingStatus::NotServing
            }
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.unimplemented::<rpc::HealthWatch, _, _>(&request).await
    }
}
