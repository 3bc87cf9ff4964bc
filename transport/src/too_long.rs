//! A message that is too long has the code `ResourceExhausted` in all gRPC libraries but tonic, which says `OutOfRange`. Clients tell
//! by the code whether to try again.
//!
//! For servers whose methods have no other use for `OutOfRange`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::Code;
use tower::{Layer, Service};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
/// What gRPC for Go says first.
const WORDS: &[u8] = b"received message larger than max: ";

/// Wraps every service of a listener, inside of what counts calls.
#[derive(Clone, Copy, Debug)]
pub struct TooLongLayer;

/// A service whose callers are told of messages that are too long as elsewhere.
#[derive(Clone, Debug)]
pub struct TooLong<S>(S);

impl<S> Layer<S> for TooLongLayer {
    type Service = TooLong<S>;

    fn layer(&self, inner: S) -> TooLong<S> {
        TooLong(inner)
    }
}

impl<S, B, A> Service<Request<B>> for TooLong<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    A: Body,
{
    type Response = Response<TooLongBody<A>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            rename(answer.headers_mut());
            Ok(answer.map(TooLongBody))
        })
    }
}

/// The body of an answer: a stream's status stands in its trailers.
#[derive(Debug)]
pub struct TooLongBody<A>(A);

impl<A: Body + Unpin> Body for TooLongBody<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()).and_then(Frame::trailers_mut) {
            rename(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn rename(head: &mut HeaderMap) {
    let is_too_long = |code: &HeaderValue| Code::from_bytes(code.as_bytes()) == Code::OutOfRange;
    let Some(code) = head.get_mut(GRPC_STATUS).filter(|code| is_too_long(code)) else { return };
    *code = HeaderValue::from(i32::from(Code::ResourceExhausted));
    // The message is encoded already; these words need no encoding.
    let text = head.get(GRPC_MESSAGE).map_or(&b""[..], HeaderValue::as_bytes);
    if let Ok(text) = HeaderValue::from_bytes(&[WORDS, text].concat()) {
        head.insert(GRPC_MESSAGE, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_code_is_renamed() {
        let told = |code: &str, message: Option<&str>| {
            let mut head = HeaderMap::new();
            head.insert(GRPC_STATUS, code.parse().unwrap());
            message.map(|message| head.insert(GRPC_MESSAGE, message.parse().unwrap()));
            rename(&mut head);
            let text = |key: &str| head.get(key).map(|value| value.to_str().unwrap().to_owned());
            (text(GRPC_STATUS).unwrap(), text(GRPC_MESSAGE))
        };
        let words = "received message larger than max: ";
        assert_eq!(told("11", Some("9 %C3%A4")), ("8".to_owned(), Some(format!("{words}9 %C3%A4"))));
        assert_eq!(told("11", None), ("8".to_owned(), Some(words.to_owned())));
        for code in ["0", "1", "8", "12", "111", "x"] {
            assert_eq!(told(code, Some("m")), (code.to_owned(), Some("m".to_owned())));
        }
        let mut head = HeaderMap::new();
        rename(&mut head);
        assert!(head.is_empty());
    }
}
