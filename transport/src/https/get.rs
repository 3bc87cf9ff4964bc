//! One GET of a document, over a bundle endpoint's connection (SPIFFE_Federation.md, sections 5.2.1.4 and 5.2.2.4) or a Unix socket.
//!
//! Whoever answers may be hostile or broken: the answer is bounded in time and size, and counts only with status 200. A redirect is never
//! remembered, never leaves `https`, and is refused where the endpoint is authenticated by its SPIFFE ID, and on a Unix socket. Neither
//! cookies nor credentials are sent, no proxy of the environment is used, and nothing is decompressed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use plastron_spiffe::BundleEndpointUrl;
use plastron_spiffe::bundle::MAX_DOCUMENT_LEN;
use tokio::net::UnixStream;

use super::{HttpsClientTls, HttpsConnectError, HttpsStream};

/// How long a document may take from name resolution to the last byte, redirects included.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// Redirects that are followed; a load balancer needs one.
pub const MAX_REDIRECTS: usize = 5;
/// Longest head of an answer, in bytes.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// Most header fields of an answer.
const MAX_HEADERS: usize = 64;
/// How much of what came with another status is told, in bytes: enough for a sentence.
const MAX_EXCERPT_LEN: usize = 256;

/// What a request says besides where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Requester {
    /// `User-Agent`.
    pub user_agent: &'static str,
    /// `Accept`.
    pub accept: &'static str,
}

/// Fetches a document of at most [`MAX_DOCUMENT_LEN`] bytes from this URL.
pub async fn fetch_https(
    url: &BundleEndpointUrl,
    tls: &HttpsClientTls,
    requester: Requester,
) -> Result<Bytes, HttpGetError> {
    let fetched = tokio::time::timeout(FETCH_TIMEOUT, follow(url, tls, requester));
    fetched.await.map_err(|_elapsed| HttpGetError::TimedOut)?
}

/// Fetches a document of at most [`MAX_DOCUMENT_LEN`] bytes from the HTTP server on this socket. `authority` is what the request calls it.
pub async fn fetch_unix(
    socket: &Path,
    authority: &str,
    path_and_query: &str,
    requester: Requester,
) -> Result<Bytes, HttpGetError> {
    let fetched = tokio::time::timeout(FETCH_TIMEOUT, async {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|source| HttpGetError::Socket { path: socket.to_owned(), source })?;
        match get(stream, authority, path_and_query, requester).await? {
            Answer::Document(body) => Ok(body),
            Answer::Redirect(location) => Err(HttpGetError::RedirectedSocket { location: shown(location.as_bytes()) }),
        }
    });
    fetched.await.map_err(|_elapsed| HttpGetError::TimedOut)?
}

async fn follow(url: &BundleEndpointUrl, tls: &HttpsClientTls, requester: Requester) -> Result<Bytes, HttpGetError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let stream = tls.connect(url.host(), url.port()).await?;
        match get(stream, url.authority(), &url.path_and_query(), requester).await? {
            Answer::Document(body) => return Ok(body),
            Answer::Redirect(location) => {
                if let HttpsClientTls::Spiffe { .. } = tls {
                    return Err(HttpGetError::Redirected { location: shown(location.as_bytes()) });
                }
                url = target(&url, &location)
                    .ok_or_else(|| HttpGetError::RedirectTarget { location: shown(location.as_bytes()) })?;
            }
        }
    }
    Err(HttpGetError::TooManyRedirects)
}

enum Answer {
    Document(Bytes),
    Redirect(String),
}

async fn get(
    stream: impl HttpsStream,
    authority: &str,
    path_and_query: &str,
    Requester { user_agent, accept }: Requester,
) -> Result<Answer, HttpGetError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_LEN).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(HttpGetError::Http)?;
    let request = Request::get(path_and_query)
        .header(HOST, authority)
        .header(ACCEPT, accept)
        .header(USER_AGENT, user_agent)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(HttpGetError::Url)?;
    let exchange = std::pin::pin!(async move {
        let response = sender.send_request(request).await.map_err(HttpGetError::Http)?;
        read(response).await
    });
    // The connection ends when this function does. Where it ends first, the exchange says with what.
    match select(exchange, std::pin::pin!(connection)).await {
        Either::Left((answer, _connection)) => answer,
        Either::Right((_ended, exchange)) => exchange.await,
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, HttpGetError> {
    let status = response.status();
    if is_redirect(status)
        && let Some(location) = response.headers().get(LOCATION)
    {
        let location =
            location.to_str().map_err(|_| HttpGetError::RedirectTarget { location: shown(location.as_bytes()) })?;
        return Ok(Answer::Redirect(location.to_owned()));
    }
    if status != StatusCode::OK {
        let body = Limited::new(response.into_body(), MAX_EXCERPT_LEN).collect().await;
        let excerpt = body.map(|body| shown(&body.to_bytes())).unwrap_or_default();
        return Err(HttpGetError::Status { status: status.as_u16(), excerpt });
    }
    match Limited::new(response.into_body(), MAX_DOCUMENT_LEN).collect().await {
        Ok(body) => Ok(Answer::Document(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(HttpGetError::TooLong),
        Err(error) => Err(HttpGetError::Body(error)),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Where a `Location` leads: a URL that a relationship could have, or a path at the same place. Nothing else is followed.
fn target(from: &BundleEndpointUrl, location: &str) -> Option<BundleEndpointUrl> {
    let absolute = if location.starts_with("//") {
        format!("https:{location}")
    } else if location.starts_with('/') {
        format!("https://{}{location}", from.authority())
    } else {
        location.to_owned()
    };
    BundleEndpointUrl::parse(&absolute).ok()
}

/// What an endpoint wrote, for a person to read: short, and without anything that drives a terminal.
fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..MAX_EXCERPT_LEN).unwrap_or(bytes);
    String::from_utf8_lossy(cut).trim_end().escape_debug().to_string()
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum HttpGetError {
    /// No connection to a server that is who it must be.
    #[error("failed to fetch bundle")]
    Connect(#[from] HttpsConnectError),
    /// Nobody serves on the socket.
    #[error("failed to fetch bundle: can't connect to the socket {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A URL that HTTP can't carry.
    #[error("failed to fetch bundle: the URL can't be requested")]
    Url(#[source] http::Error),
    /// Not HTTP.
    #[error("failed to fetch bundle: the endpoint does not answer as HTTP wants")]
    Http(#[source] hyper::Error),
    /// The body broke off.
    #[error("failed to fetch bundle: the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too slow.
    #[error("failed to fetch bundle: no whole answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    /// Too long.
    #[error("failed to fetch bundle: the answer has more than {MAX_DOCUMENT_LEN} bytes")]
    TooLong,
    /// Another status than 200.
    #[error("unexpected status {status} fetching bundle: {excerpt}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of what came with it, escaped.
        excerpt: String,
    },
    /// A redirect under `https_spiffe`.
    #[error(
        "the endpoint redirects to \"{location}\", and redirects are not followed where it is authenticated by its SPIFFE ID: configure \
         that URL"
    )]
    Redirected {
        /// Where to, escaped.
        location: String,
    },
    /// A redirect on a Unix socket, where no other place can be meant.
    #[error(
        "the server on the socket redirects to \"{location}\", and redirects are not followed there: have it answer itself"
    )]
    RedirectedSocket {
        /// Where to, escaped.
        location: String,
    },
    /// A redirect to something that is no URL of a bundle endpoint.
    #[error("the endpoint redirects to \"{location}\", which is no https URL of a bundle endpoint")]
    RedirectTarget {
        /// Where to, escaped.
        location: String,
    },
    /// Redirects without end.
    #[error("the endpoint redirects more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
}
