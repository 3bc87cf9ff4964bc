//! Connections to the server: one for authenticated calls, remade when the agent's SVID or the bundle changes, and a fresh one for each
//! attestation. All of them expect exactly `spiffe://<trust domain>/spire/server`.

use std::sync::{Arc, Mutex, PoisonError};

use plastron_agent_core::upstream::{Caller, UpstreamError};
use plastron_agent_core::{AgentSvid, SvidKey};
use plastron_spiffe::x509::SvidError;
use plastron_spiffe::{Bundle, SpiffeId};
use plastron_transport::{BundleSlot, ClientTls, ConnectError, IdentityError, IdentitySlot, PeerRefused, TlsIdentity};
use tonic::transport::Channel;

pub(crate) struct Connections {
    address: String,
    server: SpiffeId,
    current: Mutex<Option<(Caller, Channel)>>,
}

impl Connections {
    /// Expects this ID at `host:port`. Connects to nothing yet.
    pub(crate) fn new(address: String, server: SpiffeId) -> Self {
        Self { address, server, current: Mutex::new(None) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The connection with this SVID, to a server that this bundle verifies.
    pub(crate) fn authenticated(&self, caller: &Caller) -> Result<Channel, UpstreamError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, channel)) = &*current
            && Arc::ptr_eq(&before.svid, &caller.svid)
            && Arc::ptr_eq(&before.bundle, &caller.bundle)
        {
            return Ok(channel.clone());
        }
        let identity =
            tls_identity(&caller.svid).map_err(|error| UpstreamError::OwnIdentity { reason: error.to_string() })?;
        let channel = self.channel(self.tls(&caller.bundle, Some(IdentitySlot::new(identity))))?;
        *current = Some((caller.clone(), channel.clone()));
        Ok(channel)
    }

    /// A new connection without a client certificate, to attest over. An agent that was away for longer than its bundle was valid takes
    /// the server that the bundle's authorities named as their successor.
    pub(crate) fn anonymous(&self, trust: &Bundle) -> Result<Channel, UpstreamError> {
        self.channel(self.tls(trust, None).or_successor())
    }

    fn tls(&self, bundle: &Bundle, identity: Option<Arc<IdentitySlot>>) -> ClientTls {
        ClientTls::new(self.server.clone(), BundleSlot::new([bundle.clone()]), identity)
    }

    /// Connects when first used, and again after a connection ended.
    fn channel(&self, tls: ClientTls) -> Result<Channel, UpstreamError> {
        tls.connect_lazy(&self.address).map_err(|error| sort(&self.address, &error))
    }
}

/// What an agent with this SVID presents.
pub fn tls_identity(AgentSvid { svid, key, reattestable: _ }: &AgentSvid) -> Result<TlsIdentity, IdentityError> {
    match key {
        SvidKey::Own(key) => TlsIdentity::new(svid, key.reveal_pkcs8()),
        SvidKey::Held(key) => TlsIdentity::held(svid, Arc::clone(key)),
    }
}

/// Tells a server that can't be reached from one that is not ours.
pub(crate) fn sort(address: &str, error: &ConnectError) -> UpstreamError {
    let server = address.to_owned();
    match error {
        ConnectError::Refused { address: _, source } => {
            let unknown_authority = matches!(source, PeerRefused::Svid(SvidError::UnknownAuthority { .. }));
            UpstreamError::UntrustedServer { server, reason: chain(source), unknown_authority }
        }
        ConnectError::Address(_)
        | ConnectError::Tcp { .. }
        | ConnectError::Tls { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Channel { .. } => UpstreamError::Unavailable { server, reason: chain(error) },
    }
}

/// An error and its causes in one line: the error that it goes into carries text.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
