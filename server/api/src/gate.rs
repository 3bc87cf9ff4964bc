//! The authorisation table before the routes: who may not call a method costs its head, and no byte of its message is read or decoded.
//!
//! The handlers ask the table again, for a permit of their own RPC: this layer keeps bytes away from them, it proves nothing to them.
//! A path without a row is unimplemented here, before any router sees it, and so is over TLS what the admin socket alone serves: SPIRE's
//! server has no such services there, and whoever asks which there are is told the same. A message of one piece must arrive in time; how long a stream
//! may wait for its next one is its handler's business.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use plastron_server_core::Services;
use plastron_server_core::authorization::{Caller, Method};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::caller::caller;
use crate::limits::BODY_TIMEOUT;
use crate::status::{Failure, decoded};

/// Wraps every service of a listener, inside of the audit layer.
#[derive(Clone)]
pub(crate) struct GateLayer(pub(crate) Arc<Services>);

#[derive(Clone)]
pub(crate) struct Gated<S> {
    services: Arc<Services>,
    inner: S,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { services: Arc::clone(&self.0), inner }
    }
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone was not asked whether it is ready, so it stays behind.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let admitted = admit(Arc::clone(&self.services), &request);
        Box::pin(async move {
            match admitted.await {
                Ok(method) => Ok(named_as_elsewhere(inner.call(in_time(method, request)).await?)),
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// Looks at the head only; the future holds nothing of the request.
fn admit(
    services: Arc<Services>,
    request: &Request<Body>,
) -> impl Future<Output = Result<Method, Status>> + Send + use<> {
    let method = Method::from_path(request.uri().path());
    let caller = caller(request.extensions());
    async move {
        let method = method.ok_or_else(|| Status::unimplemented("no such method"))?;
        if method.columns().only_local() && !matches!(caller, Caller::Local(_)) {
            let service = method.path().split('/').nth(1).unwrap_or_default();
            return Err(Status::unimplemented(format!("unknown service {service}")));
        }
        services.authorizer.authorize_path(method.path(), &caller).await.map_err(Failure::from)?;
        Ok(method)
    }
}

/// A message that is too long has one code in all gRPC libraries but this one.
fn named_as_elsewhere(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() == Code::OutOfRange => decoded(status).into_http(),
        _ => answer,
    }
}

fn in_time(method: Method, request: Request<Body>) -> Request<Body> {
    match method {
        Method::AttestAgent | Method::SyncAuthorizedEntries | Method::WatchSubscribe => request,
        _one_message => {
            let late = Box::pin(tokio::time::sleep_until(Instant::now() + BODY_TIMEOUT));
            request.map(|inner| Body::new(InTime { inner, late }))
        }
    }
}

/// A body that fails if it has not ended in time.
struct InTime {
    inner: Body,
    late: Pin<Box<Sleep>>,
}

impl HttpBody for InTime {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let seconds = BODY_TIMEOUT.as_secs();
        self.late.as_mut().poll(cx).map(|()| Some(Err(Failure::Idle { what: "the request", seconds }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
