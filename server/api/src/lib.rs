//! The gRPC services of the server, wire-compatible with SPIRE's.
//!
//! One file per service, [`mod@convert`] between messages and the server's own types, `status` from failures to gRPC codes, `limits`
//! for what a peer may cost. `gate` turns away whoever may not call before a message is read, and every handler asks `server/core` for the permit of its own RPC and hands it on; a test walks
//! the descriptors, so that an RPC without a row in the authorisation table can't be served.
//!
//! The services decide nothing: who is admitted, what is issued and what is stored is `server/core`'s business. Not here yet:
//! TrustDomain, Logger, WIT-SVIDs, reflection; what is not served is Unimplemented.

mod agent;
mod audit;
mod bundle;
mod caller;
mod context;
mod convert;
mod debug;
mod entry;
mod gate;
mod health;
mod hsm;
mod limits;
mod localauthority;
mod ratelimit;
mod status;
mod svid;
mod tpm;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use plastron_proto::plastron::server::hsm::v1::hsm_server::HsmServer;
use plastron_proto::plastron::server::tpm::v1::tpm_server::TpmServer;
use plastron_proto::plastron::server::watch::v1::watch_server::WatchServer;
use plastron_proto::spire::api::server::agent::v1::agent_server::AgentServer;
use plastron_proto::spire::api::server::bundle::v1::bundle_server::BundleServer;
use plastron_proto::spire::api::server::debug::v1::debug_server::DebugServer;
use plastron_proto::spire::api::server::entry::v1::entry_server::EntryServer;
use plastron_proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthorityServer;
use plastron_proto::spire::api::server::svid::v1::svid_server::SvidServer;
use plastron_server_core::Services;
use plastron_transport::{ServerTls, UnixSocket, tls_incoming, tls_server, unix_server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::HealthServer;

use crate::audit::AuditLayer;
use crate::context::Context;
use crate::gate::GateLayer;
use crate::limits::{
    MAX_AGENT_REQUEST_LEN, MAX_BUNDLE_REQUEST_LEN, MAX_ENTRY_REQUEST_LEN, MAX_HSM_REQUEST_LEN,
    MAX_LOCAL_BUNDLE_REQUEST_LEN, MAX_SELF_REQUEST_LEN, MAX_SVID_REQUEST_LEN, MAX_TPM_REQUEST_LEN,
    MAX_WATCH_REQUEST_LEN, REQUEST_TIMEOUT,
};

pub use crate::context::RateLimits;

/// The server's API, to be served on its two listeners.
#[derive(Clone)]
pub struct Api {
    context: Context,
    started: Instant,
}

/// Why a listener stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket can't be listened on.
    #[error("can't listen on the admin socket")]
    Socket(#[from] io::Error),
    /// HTTP/2 failed.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

impl Api {
    /// Serves these services.
    pub fn new(services: Arc<Services>, limits: RateLimits) -> Self {
        Self { context: Context::new(services, limits), started: Instant::now() }
    }

    /// Serves agents, and administrators with an SVID, until cancelled and what is under way has ended.
    pub async fn serve_tls(
        self,
        listener: TcpListener,
        tls: ServerTls,
        cancelled: CancellationToken,
    ) -> Result<(), ServeError> {
        let mut routes = Routes::builder();
        self.add_shared(&mut routes, MAX_BUNDLE_REQUEST_LEN);
        let server =
            tls_server().timeout(REQUEST_TIMEOUT).layer(AuditLayer).layer(self.gate()).add_routes(routes.routes());
        Ok(server.serve_with_incoming_shutdown(tls_incoming(listener, tls), cancelled.cancelled_owned()).await?)
    }

    /// Serves whoever may open the admin socket, until cancelled and what is under way has ended.
    pub async fn serve_unix(self, socket: UnixSocket, cancelled: CancellationToken) -> Result<(), ServeError> {
        let mut routes = Routes::builder();
        self.add_shared(&mut routes, MAX_LOCAL_BUNDLE_REQUEST_LEN);
        self.add_local(&mut routes);
        let server =
            unix_server().timeout(REQUEST_TIMEOUT).layer(AuditLayer).layer(self.gate()).add_routes(routes.routes());
        Ok(server.serve_with_incoming_shutdown(socket.incoming()?, cancelled.cancelled_owned()).await?)
    }

    fn gate(&self) -> GateLayer {
        GateLayer(Arc::clone(&self.context.services))
    }

    fn add_shared(&self, routes: &mut RoutesBuilder, max_bundle_request_len: usize) {
        let context = || self.context.clone();
        let agent = AgentServer::new(agent::AgentService(context()));
        let bundle = BundleServer::new(bundle::BundleService(context()));
        let entry = EntryServer::new(entry::EntryService(context()));
        let svid = SvidServer::new(svid::SvidService(context()));
        let local_authority = LocalAuthorityServer::new(localauthority::LocalAuthorityService(context()));
        let hsm = HsmServer::new(hsm::HsmService(context()));
        let tpm = TpmServer::new(tpm::TpmService(context()));
        let watch = WatchServer::new(watch::WatchService(context()));
        routes
            .add_service(agent.max_decoding_message_size(MAX_AGENT_REQUEST_LEN))
            .add_service(bundle.max_decoding_message_size(max_bundle_request_len))
            .add_service(entry.max_decoding_message_size(MAX_ENTRY_REQUEST_LEN))
            .add_service(svid.max_decoding_message_size(MAX_SVID_REQUEST_LEN))
            .add_service(local_authority.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
            .add_service(hsm.max_decoding_message_size(MAX_HSM_REQUEST_LEN))
            .add_service(tpm.max_decoding_message_size(MAX_TPM_REQUEST_LEN))
            .add_service(watch.max_decoding_message_size(MAX_WATCH_REQUEST_LEN));
    }

    /// What tells about the server itself is for its own machine.
    fn add_local(&self, routes: &mut RoutesBuilder) {
        let debug = DebugServer::new(debug::DebugService { context: self.context.clone(), started: self.started });
        let health = HealthServer::new(health::HealthService(self.context.clone()));
        routes
            .add_service(debug.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
            .add_service(health.max_decoding_message_size(MAX_SELF_REQUEST_LEN));
    }
}

#[cfg(test)]
mod tests;
