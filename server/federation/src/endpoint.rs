//! The bundle endpoint of this server: `GET /` answers with the trust domain's bundle as JSON, to anyone (SPIFFE_Federation.md, sections
//! 5.2.1.3 and 5.2.2.3). Every other path is 404, every other method 405. It never redirects.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use plastron_spiffe::{Bundle, BundleError};
use plastron_transport::{HttpsServerTls, HttpsStream, serve_https};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take (SPIRE: 10 s).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// Tells the bundle of this moment.
pub type BundleNow = Arc<dyn Fn() -> Arc<Bundle> + Send + Sync>;

/// Serves the bundle of this moment.
#[derive(Clone)]
pub struct BundleEndpoint {
    bundle: BundleNow,
    refresh_hint: i64,
    rendered: Arc<Mutex<Option<Rendered>>>,
}

/// A bundle and its document: made once for each bundle, however often it is asked for.
struct Rendered {
    of: Arc<Bundle>,
    document: Bytes,
}

impl BundleEndpoint {
    /// Serves what `bundle` tells, with this hint in place of the bundle's own.
    pub fn new(bundle: BundleNow, refresh_hint: Duration) -> Self {
        let refresh_hint = i64::try_from(refresh_hint.as_secs()).unwrap_or(i64::MAX);
        Self { bundle, refresh_hint, rendered: Arc::default() }
    }

    /// Until `ended` is cancelled; what is being answered then is answered.
    pub async fn serve(self, listener: TcpListener, tls: HttpsServerTls, ended: CancellationToken) {
        let connection = move |stream| self.clone().connection(stream);
        serve_https("the bundle endpoint", listener, tls.into(), ended, connection).await;
    }

    async fn connection(self, stream: Box<dyn HttpsStream>) {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_LEN).keep_alive(false);
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let response = self.respond(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "Connection to the bundle endpoint failed");
        }
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        if path != "/" {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        match self.document() {
            Ok(document) => answer(StatusCode::OK, "application/json", document),
            Err(error) => {
                tracing::error!(%error, "Unable to marshal local bundle");
                text(StatusCode::INTERNAL_SERVER_ERROR, "500 unable to marshal local bundle\n")
            }
        }
    }

    fn document(&self) -> Result<Bytes, BundleError> {
        let bundle = (self.bundle)();
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Rendered { of, document }) = &*rendered
            && Arc::ptr_eq(of, &bundle)
        {
            return Ok(document.clone());
        }
        let shown = Bundle { refresh_hint: self.refresh_hint, ..bundle.as_ref().clone() };
        let document = Bytes::from(shown.to_spiffe_json()?);
        *rendered = Some(Rendered { of: bundle, document: document.clone() });
        Ok(document)
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
