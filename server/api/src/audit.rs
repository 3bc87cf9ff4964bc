//! One line for each call that failed, whatever it failed on: a refusal, a message that does not parse or is too long, an unknown method.
//!
//! Changes and attestations have lines of their own, which `server/core` writes. A stream that breaks after its first message is
//! reported by whoever serves it.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use plastron_server_core::audit::REFUSAL_TARGET;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::caller::caller;
use crate::limits::MAX_MESSAGE_LEN;

/// Longest path that a line shows: that of every method is shorter, and a path may be as long as all headers may be.
const MAX_PATH_LEN: usize = 128;

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
                let (method, message) = (shown(&path, MAX_PATH_LEN), shown(status.message(), MAX_MESSAGE_LEN));
                tracing::info!(
                    target: REFUSAL_TARGET,
                    r#type = "audit", event = "rpc", status = "error", status_code = ?code, status_message = %message, caller_id, %method,
                    "Request failed"
                );
            }
            Ok(answer)
        })
    }
}

/// Escaped, and cut where it is too long.
fn shown(text: &str, max_len: usize) -> String {
    let mut shown: String = text.chars().take(max_len).flat_map(char::escape_debug).collect();
    if text.chars().nth(max_len).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_is_escaped_and_cut() {
        assert_eq!(shown("/a.B/C\n\u{1b}", 9), "/a.B/C\\n\\u{1b}");
        assert_eq!(shown(&"a".repeat(1 << 14), 3), "aaa…");
    }
}
