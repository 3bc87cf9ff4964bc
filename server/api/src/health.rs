//! `grpc.health.v1.Health`, on the Unix socket: serving means that the CA key has just made a signature.
//!
//! The health protocol has no word for a server that serves from its cache. The server as a whole (the empty name) is not serving then,
//! and the service [`CACHED`] is: bundles, entries and what was issued.

use std::pin::Pin;

use futures_util::Stream;
use plastron_server_core::authorization::rpc;
use plastron_server_core::health::NotReady;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::context::Context;
use crate::status::explain;

/// The name under which it is asked whether the server serves what it has.
const CACHED: &str = "plastron.server.cached";

pub(crate) struct HealthService(pub(crate) Context);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let _permit = self.0.permit::<rpc::HealthCheck, _>(&request).await?;
        let cached = match request.get_ref().service.as_str() {
            "" => false,
            CACHED => true,
            _unknown => return Err(Status::not_found("unknown service")),
        };
        let status = match self.0.services.health.check().await {
            Ok(()) => ServingStatus::Serving,
            Err(NotReady::FromCache(_)) if cached => ServingStatus::Serving,
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
