//! Limits of the HTTP/2 servers. tonic's own defaults leave streams and header lists unbounded.

use std::time::Duration;

use tonic::transport::Server;

/// Most streams that one TLS connection may have open. An agent needs one per call in flight; `bench` uses 64.
pub const MAX_TLS_STREAMS: u32 = 100;
/// Most streams that one connection of a Unix socket may have open: a proxy keeps one for each secret of each of its workloads.
pub const MAX_CONCURRENT_STREAMS: u32 = 1000;
/// What a TLS connection may send before anyone reads it, on one stream and on all of them: without a certificate one can open many
/// connections, and hyper's own default is 1 MiB for each.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
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
        .max_concurrent_streams(MAX_TLS_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(MAX_CONNECTION_AGE)
        .max_connection_age_grace(MAX_CONNECTION_AGE_GRACE)
}

/// A server for `UnixSocket::incoming`. Streams of the Workload API live as long as their workload, so connections have no age.
pub fn unix_server() -> Server {
    Server::builder().max_concurrent_streams(MAX_CONCURRENT_STREAMS).http2_max_header_list_size(MAX_HEADER_LIST_SIZE)
}
