//! Counts the calls of a gRPC server by method and status: SPIRE's `rpc.<service>.<method>`.
//!
//! A call ends with its trailers, or with its head where it has no body; a caller that goes away before makes it Canceled. Methods that
//! nobody declared are not counted: a stranger's paths must not make labels. Beside the future that every layer boxes, counting takes
//! no memory per call.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use plastron_telemetry::{Call, Counter, Gauge, Running, Status};
use tower::{Layer, Service};

/// The calls that are counted, by the path of their method (`/package.Service/Method`).
#[derive(Clone)]
pub struct CountedCalls {
    calls: Arc<HashMap<String, Arc<Call>>>,
    connections: Arc<[(&'static str, Arc<Connections>)]>,
}

/// What SPIRE calls connections of an API: the calls under way.
struct Connections {
    begun: Counter,
    open: Gauge,
}

/// One call of an API, while it is under way.
struct Connection(Arc<Connections>);

impl Connection {
    fn begin(connections: &Arc<Connections>) -> Self {
        connections.begun.increment();
        connections.open.increment();
        Self(Arc::clone(connections))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.decrement();
    }
}

impl CountedCalls {
    /// These paths.
    pub fn new(paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let call = |path: String| {
            let call = Call::named(format!("rpc.{}", method_key(&path)?));
            Some((path, Arc::new(call)))
        };
        let calls = paths.into_iter().map(Into::into).filter_map(call).collect();
        Self { calls: Arc::new(calls), connections: Arc::new([]) }
    }

    /// Whether calls of this method are counted.
    pub fn counts(&self, path: &str) -> bool {
        self.calls.contains_key(path)
    }

    /// Counts also what SPIRE calls the connections of these APIs: by a service's path (`/package.Service/`) and SPIRE's keys for those
    /// that began and those that are open.
    #[must_use]
    pub fn with_connections(self, apis: &[(&'static str, &'static str, &'static str)]) -> Self {
        let api = |(service, begun, open): &(&'static str, &'static str, &'static str)| {
            (*service, Arc::new(Connections { begun: Counter::new(begun), open: Gauge::new(open) }))
        };
        Self { connections: apis.iter().map(api).collect(), ..self }
    }

    fn begin(&self, path: &str) -> (Option<Running<Arc<Call>>>, Option<Connection>) {
        let call = self.calls.get(path).map(|call| Running::new(Arc::clone(call)));
        let api = call.as_ref().and_then(|_| self.connections.iter().find(|(service, _)| path.starts_with(service)));
        (call, api.map(|(_, connections)| Connection::begin(connections)))
    }
}

/// SPIRE's key of a method (`/package.Service/Method`), without what is said of it; `None` where its path is none.
pub fn method_key(path: &str) -> Option<String> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = match service {
        "SpiffeWorkloadAPI" => "WorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService" => "SDS.v3",
        "grpc.health.v1.Health" => "Health",
        "spire.agent.debug.v1.Debug" => "Debug",
        "spire.api.agent.logger.v1.Logger" | "spire.api.server.logger.v1.Logger" => "Logger",
        "spire.api.agent.delegatedidentity.v1.DelegatedIdentity" => "DelegatedIdentity",
        other => other.strip_prefix("spire.api.server.").unwrap_or(other),
    };
    // SPIRE names this one by hand, since its rule reads the plural badly.
    let method = if method == "SubscribeToX509SVIDs" { "SubscribeToX509Svids" } else { method };
    let parts: Vec<String> = service.split('.').chain([method]).map(snake_case).collect();
    Some(parts.join("."))
}

/// SPIRE's rule: an underscore before an upper-case letter that has a lower-case one before or after it.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            snake.push('_');
            continue;
        }
        let is_lower = |neighbour: Option<&char>| neighbour.is_some_and(|letter| letter.is_lowercase());
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let has_neighbours = before.is_some() && letters.get(index + 1).is_some();
        let begins_word = is_lower(before) || is_lower(letters.get(index + 1));
        if letter.is_uppercase() && has_neighbours && begins_word && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Wraps every service of a listener, outside of all other layers.
#[derive(Clone)]
pub struct CountCalls(pub CountedCalls);

/// A service whose calls are counted.
#[derive(Clone)]
pub struct Counted<S> {
    calls: CountedCalls,
    inner: S,
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { calls: self.0.clone(), inner }
    }
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>> + Send,
    S::Future: Send + 'static,
    A: Body,
{
    type Response = Response<CountedBody<A>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut call, connection) = self.calls.begin(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // Without a body the status stands in the head.
            if let (Some(status), Some(call)) = (status(answer.headers()), call.take_if(|_| has_status(&answer))) {
                call.done(status);
            }
            Ok(answer.map(|body| CountedBody { body, call, _connection: connection }))
        })
    }
}

fn has_status<A>(answer: &Response<A>) -> bool {
    answer.headers().contains_key(GRPC_STATUS)
}

const GRPC_STATUS: &str = "grpc-status";

fn status(headers: &HeaderMap) -> Option<Status> {
    let number = headers.get(GRPC_STATUS)?.to_str().ok().and_then(|number| number.parse().ok());
    Some(number.map_or(Status::Unknown, Status::from_number))
}

/// The body of an answer, with the call that it ends.
pub struct CountedBody<A> {
    body: A,
    call: Option<Running<Arc<Call>>>,
    _connection: Option<Connection>,
}

impl<A: Body + Unpin> Body for CountedBody<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| status(trailers).unwrap_or(Status::Unknown)),
            Some(Err(_)) | None => Some(Status::Unknown),
        };
        if let Some(status) = ended
            && let Some(call) = self.call.take()
        {
            call.done(status);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spires() {
        for (path, expected) in [
            ("/spire.api.server.agent.v1.Agent/AttestAgent", "rpc.agent.v1.agent.attest_agent"),
            ("/spire.api.server.svid.v1.SVID/BatchNewX509SVID", "rpc.svid.v1.svid.batch_new_x509svid"),
            ("/spire.api.server.svid.v1.SVID/NewJWTSVID", "rpc.svid.v1.svid.new_jwtsvid"),
            ("/spire.api.server.svid.v1.SVID/NewDownstreamX509CA", "rpc.svid.v1.svid.new_downstream_x509ca"),
            (
                "/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState",
                "rpc.localauthority.v1.local_authority.get_x509_authority_state",
            ),
            ("/SpiffeWorkloadAPI/FetchX509SVID", "rpc.workload_api.fetch_x509svid"),
            ("/SpiffeWorkloadAPI/FetchJWTBundles", "rpc.workload_api.fetch_jwt_bundles"),
            ("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", "rpc.sds.v3.stream_secrets"),
            ("/grpc.health.v1.Health/Check", "rpc.health.check"),
            ("/spire.api.server.logger.v1.Logger/GetLogger", "rpc.logger.get_logger"),
            (
                "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509SVIDs",
                "rpc.delegated_identity.subscribe_to_x509_svids",
            ),
        ] {
            let key = method_key(path).map(|key| format!("rpc.{key}"));
            assert_eq!(key.as_deref(), Some(expected), "{path}");
        }
        assert_eq!(method_key("/nothing"), None);
    }
}
