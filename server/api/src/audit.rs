//! One line for each call that failed, whatever it failed on: a refusal, a message that does not parse or is too long, an unknown method.
//!
//! Changes and attestations have lines of their own, which `server/core` writes. A stream that breaks after its first message is
//! reported by whoever serves it.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use plastron_server_core::audit::TARGET;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::caller::caller;

/// Wraps every service of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditLayer;

#[derive(Clone, Debug)]
pub(crate) struct Audited<S>(S);

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited(inner)
    }
}

impl<S, B, A> Service<Request<B>> for Audited<S>
where
    S: Service<Request<B>, Response = Response<A>> + Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (path, caller) = (request.uri().path().to_owned(), caller(request.extensions()));
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // Without a body's worth of answer the status stands in the head.
            if let Some(status) = Status::from_header_map(answer.headers())
                && status.code() != Code::Ok
            {
                let (code, caller_id) = (status.code(), caller.describe());
                let (method, message) = (path.escape_debug(), status.message().escape_debug());
                tracing::info!(
                    target: TARGET,
                    r#type = "audit", event = "rpc", status = "error", status_code = ?code, status_message = %message, caller_id, %method,
                    "Request failed"
                );
            }
            Ok(answer)
        })
    }
}
