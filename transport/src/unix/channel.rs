//! A gRPC channel over a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How long connecting may take: it waits only where the server's backlog is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel to the server on this socket. The first call connects; the channel connects anew by itself.
pub fn unix_channel(path: impl Into<PathBuf>) -> Channel {
    let path = path.into();
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT).connect_with_connector_lazy(service_fn(
        move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        },
    ))
}
