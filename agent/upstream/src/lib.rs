//! A client of the server's API: SPIRE's Agent, Entry, SVID and Bundle services over gRPC (spire-api-sdk names and numbers), and our own
//! push stream where the server has it.
//!
//! AttestAgent and the GetBundle after it go over a connection without a client certificate; everything else over mutual TLS with the
//! agent's SVID. The server must show exactly `spiffe://<trust domain>/spire/server`; DNS names are not compared.
//! What this crate deliberately does not do: it keeps nothing but a connection, and judges no SVID: `agent/core` does.

mod attest;
mod bundles;
mod connect;
mod convert;
mod entries;
mod jwt;
mod status;
mod svids;
mod watch;

use std::sync::Arc;

use plastron_agent_core::upstream::{
    AttestResult, Caller, EntrySync, JwtSvidReply, KnownEntries, NodeAttestation, PushStream, SvidOutcome, SvidRequest,
    Upstream, UpstreamError,
};
use plastron_proto::spire::api::server::agent::v1::agent_client::AgentClient;
use plastron_proto::spire::api::server::agent::v1::{AgentX509svidParams, PostStatusRequest, RenewAgentRequest};
use plastron_spiffe::{Bundle, SpiffeIdError, TrustDomain};

use crate::connect::Connections;
pub use crate::connect::tls_identity;
use crate::status::bounded;
use crate::svids::BatchSize;

/// The server, reached over TCP.
pub struct GrpcUpstream {
    trust_domain: TrustDomain,
    connections: Connections,
    batch_size: BatchSize,
}

impl GrpcUpstream {
    /// Connects to nothing yet. `host` is a name or an address.
    pub fn new(host: &str, port: u16, trust_domain: TrustDomain) -> Result<Self, SpiffeIdError> {
        let server = trust_domain.with_path("/spire/server")?;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { trust_domain, connections: Connections::new(address, server), batch_size: BatchSize::new() })
    }

    fn address(&self) -> &str {
        self.connections.address()
    }
}

#[async_trait::async_trait]
impl Upstream for GrpcUpstream {
    async fn attest(
        &self,
        trust: &Arc<Bundle>,
        attestation: NodeAttestation<'_>,
        csr: &[u8],
    ) -> Result<AttestResult, UpstreamError> {
        let channel = self.connections.anonymous(trust)?;
        attest::attest(self.address(), channel, attestation, csr).await
    }

    async fn renew(&self, caller: &Caller, csr: &[u8]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        const RPC: &str = "RenewAgent";
        let mut client = AgentClient::new(self.connections.authenticated(caller)?);
        let request = RenewAgentRequest { params: Some(AgentX509svidParams { csr: csr.to_vec() }) };
        let reply = bounded(self.address(), RPC, client.renew_agent(request)).await?;
        convert::chain(RPC, reply.into_inner().svid)
    }

    async fn post_status(&self, caller: &Caller, version: &str) -> Result<(), UpstreamError> {
        let mut client = AgentClient::new(self.connections.authenticated(caller)?);
        let request = PostStatusRequest { current_bundle_serial: 0, agent_version: version.to_owned() };
        bounded(self.address(), "PostStatus", client.post_status(request)).await.map(drop)
    }

    async fn bundle(&self, caller: &Caller) -> Result<Bundle, UpstreamError> {
        bundles::own(self.address(), self.connections.authenticated(caller)?).await
    }

    async fn federated_bundle(
        &self,
        caller: &Caller,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Bundle>, UpstreamError> {
        let channel = self.connections.authenticated(caller)?;
        bundles::federated(self.address(), channel, trust_domain).await
    }

    async fn sync_entries(&self, caller: &Caller, known: &KnownEntries) -> Result<EntrySync, UpstreamError> {
        let channel = self.connections.authenticated(caller)?;
        entries::sync(self.address(), channel, &self.trust_domain, known).await
    }

    async fn new_x509_svids(
        &self,
        caller: &Caller,
        requests: &[SvidRequest],
    ) -> Result<Vec<SvidOutcome>, UpstreamError> {
        let channel = self.connections.authenticated(caller)?;
        svids::new_svids(self.address(), channel, &self.batch_size, requests).await
    }

    async fn new_jwt_svid(
        &self,
        caller: &Caller,
        entry_id: &str,
        audience: &[String],
    ) -> Result<JwtSvidReply, UpstreamError> {
        let channel = self.connections.authenticated(caller)?;
        jwt::new_jwt_svid(self.address(), channel, entry_id, audience).await
    }

    async fn watch(&self, caller: &Caller, has: u64) -> Result<Box<dyn PushStream>, UpstreamError> {
        watch::open(self.address(), self.connections.authenticated(caller)?, has).await
    }
}
