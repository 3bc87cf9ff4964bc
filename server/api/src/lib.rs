//! The gRPC services of the server, wire-compatible with SPIRE's.
//!
//! One file per service, [`mod@convert`] between messages and the server's own types, `status` from failures to gRPC codes, `limits`
//! for what a peer may cost. `gate` turns away whoever may not call before a message is read, and every handler asks `server/core` for the permit of its own RPC and hands it on; a test walks
//! the descriptors, so that an RPC without a row in the authorisation table can't be served.
//!
//! The services decide nothing: who is admitted, what is issued and what is stored is `server/core`'s business. Not here yet:
//! WIT-SVIDs; what is not served is Unimplemented.

mod agent;
mod audit;
mod batch;
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
mod logger;
mod ratelimit;
mod reflection;
mod status;
mod svid;
mod tpm;
mod trustdomain;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use plastron_proto::plastron::server::hsm::v1::hsm_server::HsmServer;
use plastron_proto::plastron::server::tpm::v1::tpm_server::TpmServer;
use plastron_proto::plastron::server::watch::v1::watch_server::WatchServer;
use plastron_proto::spire::api::server::agent::v1::agent_server::AgentServer;
use plastron_proto::spire::api::server::debug::v1::debug_server::DebugServer;
use plastron_proto::spire::api::server::entry::v1::entry_server::EntryServer;
use plastron_proto::spire::api::server::localauthority::v1::local_authority_server::LocalAuthorityServer;
use plastron_proto::spire::api::server::logger::v1::logger_server::LoggerServer;
use plastron_proto::spire::api::server::svid::v1::svid_server::SvidServer;
use plastron_proto::spire::api::server::trustdomain::v1::trust_domain_server::TrustDomainServer;
use plastron_server_core::Services;
use plastron_server_core::authorization::Method;
use plastron_transport::{
    CountCalls, CountedCalls, ServerTls, TrustedProxies, UnixSocket, tls_incoming, tls_server, unix_server,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::HealthServer;

use crate::audit::AuditLayer;
use crate::context::Context;
use crate::gate::GateLayer;
use crate::limits::{
    MAX_AGENT_REQUEST_LEN, MAX_BUNDLE_REQUEST_LEN, MAX_ENTRY_REQUEST_LEN, MAX_HSM_REQUEST_LEN, MAX_SELF_REQUEST_LEN,
    MAX_SVID_REQUEST_LEN, MAX_TPM_REQUEST_LEN, MAX_WATCH_REQUEST_LEN, REQUEST_TIMEOUT,
};

pub use crate::context::RateLimits;
pub use crate::logger::LogControl;
pub use plastron_proto::types::LogLevel;

/// The server's API, to be served on its two listeners.
#[derive(Clone)]
pub struct Api {
    context: Context,
    log: Arc<dyn LogControl>,
    started: Instant,
}

/// Why a listener stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket can't be listened on.
    #[error("can't listen on the admin socket")]
    Socket(#[from] io::Error),
    /// The descriptors of the interfaces can't be served.
    #[error("reflection can't be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// HTTP/2 failed.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

impl Api {
    /// Serves these services, and lets administrators on the server's machine set the level of its log.
    pub fn new(services: Arc<Services>, limits: RateLimits, log: Arc<dyn LogControl>) -> Self {
        Self { context: Context::new(services, limits), log, started: Instant::now() }
    }

    /// Serves agents, and administrators with an SVID, until cancelled and what is under way has ended. Whom one of these proxies speaks
    /// for is known by its own address.
    pub async fn serve_tls(
        self,
        listener: TcpListener,
        tls: ServerTls,
        proxies: TrustedProxies,
        cancelled: CancellationToken,
    ) -> Result<(), ServeError> {
        let mut routes = Routes::builder();
        self.add_shared(&mut routes);
        let server = tls_server()
            .timeout(REQUEST_TIMEOUT)
            .layer(counted())
            .layer(AuditLayer)
            .layer(self.gate())
            .add_routes(routes.routes());
        let incoming = tls_incoming(listener, tls, proxies);
        Ok(server.serve_with_incoming_shutdown(incoming, cancelled.cancelled_owned()).await?)
    }

    /// Serves whoever may open the admin socket, until cancelled and what is under way has ended.
    pub async fn serve_unix(self, socket: UnixSocket, cancelled: CancellationToken) -> Result<(), ServeError> {
        let mut routes = Routes::builder();
        self.add_shared(&mut routes);
        self.add_local(&mut routes, &cancelled)?;
        let server = unix_server()
            .timeout(REQUEST_TIMEOUT)
            .layer(counted())
            .layer(AuditLayer)
            .layer(self.gate())
            .add_routes(routes.routes());
        Ok(server.serve_with_incoming_shutdown(socket.incoming()?, cancelled.cancelled_owned()).await?)
    }

    fn gate(&self) -> GateLayer {
        GateLayer(Arc::clone(&self.context.services))
    }

    fn add_shared(&self, routes: &mut RoutesBuilder) {
        let context = || self.context.clone();
        let agent = AgentServer::new(agent::AgentService(context()));
        let bundle = bundle::server(bundle::BundleService(context()));
        let entry = EntryServer::new(entry::EntryService(context()));
        let svid = SvidServer::new(svid::SvidService(context()));
        let local_authority = LocalAuthorityServer::new(localauthority::LocalAuthorityService(context()));
        let hsm = HsmServer::new(hsm::HsmService(context()));
        let tpm = TpmServer::new(tpm::TpmService(context()));
        let trust_domain = TrustDomainServer::new(trustdomain::TrustDomainService(context()));
        let watch = WatchServer::new(watch::WatchService(context()));
        routes
            .add_service(agent.max_decoding_message_size(MAX_AGENT_REQUEST_LEN))
            .add_service(bundle)
            .add_service(entry.max_decoding_message_size(MAX_ENTRY_REQUEST_LEN))
            .add_service(svid.max_decoding_message_size(MAX_SVID_REQUEST_LEN))
            .add_service(local_authority.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
            .add_service(hsm.max_decoding_message_size(MAX_HSM_REQUEST_LEN))
            .add_service(trust_domain.max_decoding_message_size(MAX_BUNDLE_REQUEST_LEN))
            .add_service(tpm.max_decoding_message_size(MAX_TPM_REQUEST_LEN))
            .add_service(watch.max_decoding_message_size(MAX_WATCH_REQUEST_LEN));
    }

    /// What tells about the server itself is for its own machine.
    fn add_local(&self, routes: &mut RoutesBuilder, stopping: &CancellationToken) -> Result<(), ServeError> {
        let context = || self.context.clone();
        let debug = DebugServer::new(debug::DebugService { context: context(), started: self.started });
        let logger = LoggerServer::new(logger::LoggerService { context: context(), log: Arc::clone(&self.log) });
        let health = HealthServer::new(health::HealthService::new(context(), stopping.clone()));
        routes
            .add_service(debug.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
            .add_service(logger.max_decoding_message_size(MAX_SELF_REQUEST_LEN))
            .add_service(health.max_decoding_message_size(MAX_SELF_REQUEST_LEN));
        Ok(reflection::add(routes, &LOCAL_SERVICES)?)
    }
}

/// What the Unix socket serves, as the routes are given it.
const LOCAL_SERVICES: [&str; 12] = [
    AgentServer::<agent::AgentService>::NAME,
    bundle::ByMethod::NAME,
    EntryServer::<entry::EntryService>::NAME,
    SvidServer::<svid::SvidService>::NAME,
    LocalAuthorityServer::<localauthority::LocalAuthorityService>::NAME,
    HsmServer::<hsm::HsmService>::NAME,
    TrustDomainServer::<trustdomain::TrustDomainService>::NAME,
    TpmServer::<tpm::TpmService>::NAME,
    WatchServer::<watch::WatchService>::NAME,
    DebugServer::<debug::DebugService>::NAME,
    LoggerServer::<logger::LoggerService>::NAME,
    HealthServer::<health::HealthService>::NAME,
];

/// Counts the calls of every method that the authorisation table knows.
fn counted() -> CountCalls {
    CountCalls(CountedCalls::new(Method::ALL.iter().map(|method| method.path())))
}

#[cfg(test)]
mod tests;
