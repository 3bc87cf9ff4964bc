//! Limits of the HTTP/2 servers. tonic's own defaults leave streams and header lists unbounded.

use std::time::Duration;

use tonic::transport::Server;

/// Most streams that one connection may have open. An agent needs one per call in flight; `bench` uses 64.
pub const MAX_CONCURRENT_STREAMS: u32 = 1000;
/// Largest header list that is answered: gRPC metadata of real clients has less than 1 KiB, and a bearer token fits.
pub const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;
/// After this a TLS connection is told to go away, as SPIRE does, so that load spreads and a changed certificate is presented.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(3 * 60);
/// How long calls in flight may then still take: an attestation with a slow TPM takes seconds.
pub const MAX_CONNECTION_AGE_GRACE: Duration = Duration::from_secs(60);
/// A dead peer behind a silent network is found after interval and timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server for `tls_incoming`.
pub fn tls_server() -> Server {
    unix_server()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(MAX_CONNECTION_AGE)
        .max_connection_age_grace(MAX_CONNECTION_AGE_GRACE)
}

/// A server for `UnixSocket::incoming`. Streams of the Workload API live as long as their workload, so connections have no age.
pub fn unix_server() -> Server {
    Server::builder().max_concurrent_streams(MAX_CONCURRENT_STREAMS).http2_max_header_list_size(MAX_HEADER_LIST_SIZE)
}
