//! The server on the admin socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use plastron_agent_core::AgentInfo;
use plastron_proto::spire::agent::debug::v1::debug_server::DebugServer;
use plastron_proto::spire::api::agent::delegatedidentity::v1::delegated_identity_server::DelegatedIdentityServer;
use plastron_proto::spire::api::agent::logger::v1::logger_server::LoggerServer;
use plastron_transport::{CountCalls, CountedCalls, SocketModes, TooLongLayer, UnixSocket, unix_server};
use tonic::server::NamedService;

use super::debug::DebugService;
use super::delegate::Delegates;
use super::delegated::DelegatedIdentityService;
use super::logger::{LogControl, LoggerService};
use crate::limits::{
    CONNECTION_WINDOW_BYTES, DRAIN_TIMEOUT, MAX_DELEGATE_REQUEST_BYTES, MAX_DELEGATE_REQUESTS_AT_ONCE,
    MAX_DELEGATE_STREAMS, MAX_HEADER_LIST_BYTES, MAX_REQUEST_BYTES, STREAM_WINDOW_BYTES,
};
use crate::serve::ServeError;
use crate::service::WorkloadApi;

/// A bound admin socket.
pub struct AdminServer {
    socket: UnixSocket,
    api: WorkloadApi,
    delegates: Delegates,
    info: AgentInfo,
    log: Arc<dyn LogControl>,
    started: Instant,
}

impl AdminServer {
    /// Binds the socket, open to the agent's user and group; missing folders are made. `api` attests the delegates and has the identities;
    /// its stop ends the streams here too. `started` is when the program was.
    pub fn bind(
        path: &Path,
        api: WorkloadApi,
        delegates: Delegates,
        info: AgentInfo,
        log: Arc<dyn LogControl>,
        started: Instant,
    ) -> Result<Self, ServeError> {
        Ok(Self { socket: UnixSocket::bind(path, SocketModes::PRIVATE)?, api, delegates, info, log, started })
    }

    /// Serves until `stop` resolves; then every open stream is told that the agent shuts down, and the socket's file is removed.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { socket, api, delegates, info, log, started } = self;
        let path = socket.path().to_owned();
        let delegated = DelegatedIdentityService { api: api.clone(), delegates };
        let delegated = DelegatedIdentityServer::new(delegated).max_decoding_message_size(MAX_DELEGATE_REQUEST_BYTES);
        let debug = DebugServer::new(DebugService { info, started }).max_decoding_message_size(MAX_REQUEST_BYTES);
        let logger = LoggerServer::new(LoggerService(log)).max_decoding_message_size(MAX_REQUEST_BYTES);
        let (drain, drained) = tokio::sync::oneshot::channel::<()>();
        let server = unix_server()
            .max_concurrent_streams(MAX_DELEGATE_STREAMS)
            .concurrency_limit_per_connection(MAX_DELEGATE_REQUESTS_AT_ONCE)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .layer(CountCalls(counted()))
            .layer(TooLongLayer)
            .add_service(delegated)
            .add_service(debug)
            .add_service(logger)
            .serve_with_incoming_shutdown(socket.incoming().map_err(ServeError::Listen)?, async {
                // An error means that the other half is gone, and with it whoever would wait.
                let _ = drained.await;
            });
        tokio::pin!(server);
        tracing::info!(address = %path.display(), "Starting Admin APIs");
        tokio::select! {
            ended = &mut server => return ended.map_err(ServeError::Serve),
            () = stop => {}
        }
        api.stop();
        let _ = drain.send(());
        match tokio::time::timeout(DRAIN_TIMEOUT, server).await {
            Ok(ended) => ended.map_err(ServeError::Serve),
            // Who does not read its last word is cut off.
            Err(_elapsed) => Ok(()),
        }
    }
}

/// Counts the calls of the APIs on this socket.
pub(crate) fn counted() -> CountedCalls {
    let services = [
        DelegatedIdentityServer::<DelegatedIdentityService>::NAME,
        DebugServer::<DebugService>::NAME,
        LoggerServer::<LoggerService>::NAME,
    ];
    crate::counted::counted(&services).with_connections(&[
        (
            "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/",
            "delegated_identity_api.connection",
            "delegated_identity_api.connections",
        ),
        ("/spire.agent.debug.v1.Debug/", "debug_api.connection", "debug_api.connections"),
    ])
}
