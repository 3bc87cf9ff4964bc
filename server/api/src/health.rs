//! `grpc.health.v1.Health`, on the Unix socket: serving means that the CA's keys have just made a signature.
//!
//! The health protocol has no word for a server that serves from its cache. The server as a whole (the empty name) is not serving then,
//! and the service [`CACHED`] is: bundles, entries and what was issued. Watch, which SPIRE's server does not have, tells the same
//! whenever it changes.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use plastron_server_core::authorization::rpc;
use plastron_server_core::health::NotReady;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::context::Context;
use crate::limits::{HEALTH_WATCH_PERIOD, MAX_HEALTH_WATCHES};
use crate::status::{Failure, explain};

/// The name under which it is asked whether the server serves what it has.
const CACHED: &str = "plastron.server.cached";

pub(crate) struct HealthService {
    context: Context,
    watches: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl HealthService {
    /// Watches end once the server stops.
    pub(crate) fn new(context: Context, stopping: CancellationToken) -> Self {
        Self { context, watches: Arc::new(Semaphore::new(MAX_HEALTH_WATCHES)), stopping }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Asked {
    Whole,
    Cached,
}

impl Asked {
    fn of(request: &HealthCheckRequest) -> Result<Self, Failure> {
        match request.service.as_str() {
            "" => Ok(Self::Whole),
            CACHED => Ok(Self::Cached),
            _other => Err(Failure::Protocol("per-service health is not supported")),
        }
    }

    async fn status(self, context: &Context) -> ServingStatus {
        let answer = context.services.health.check().await;
        match (answer.as_ref().map_err(AsRef::as_ref), self) {
            (Ok(()), _) | (Err(NotReady::FromCache(_)), Self::Cached) => ServingStatus::Serving,
            (Err(error), _) => {
                tracing::warn!(reason = explain(error), "Health check failed");
                ServingStatus::NotServing
            }
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let _permit = self.context.permit::<rpc::HealthCheck, _>(&request).await?;
        let asked = Asked::of(request.get_ref())?;
        Ok(Response::new(answer(asked.status(&self.context).await)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let _permit = self.context.permit::<rpc::HealthWatch, _>(&request).await?;
        let asked = Asked::of(request.get_ref())?;
        let (what, all) = ("watches of the server's health", MAX_HEALTH_WATCHES);
        let busy = |_full| Failure::Busy { what, all, of_source: all };
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(busy)?;
        let mut looks = tokio::time::interval(HEALTH_WATCH_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (context, stopping) = (self.context.clone(), self.stopping.clone());
        let watch = HealthWatch { context, asked, told: None, looks, stopping, _place: place };
        Ok(Response::new(Box::pin(stream::unfold(Some(watch), |watch| async move { watch?.next().await }))))
    }
}

struct HealthWatch {
    context: Context,
    asked: Asked,
    told: Option<ServingStatus>,
    looks: Interval,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl HealthWatch {
    /// The next status that differs from the one before; the last is that of a server that stops.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Option<Self>)> {
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return Some((Ok(answer(ServingStatus::NotServing)), None)),
                _ = self.looks.tick() => {}
            }
            let status = self.asked.status(&self.context).await;
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(answer(status)), Some(self)));
            }
        }
    }
}
