//! The agent's own SVID with its key.

use std::sync::Arc;

use plastron_plugins::node::HeldKey;
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::X509Svid;

use crate::PrivateKey;

/// The private key of the agent's own SVID.
#[derive(Clone, Debug)]
pub enum SvidKey {
    /// In this process.
    Own(Arc<PrivateKey>),
    /// In hardware, which signs for this process.
    Held(Arc<dyn HeldKey>),
}

/// The SVID that the agent shows to the server.
#[derive(Debug)]
pub struct AgentSvid {
    /// Chain, leaf first, with validity and serial number.
    pub svid: X509Svid,
    /// The leaf's key.
    pub key: SvidKey,
    /// Whether it is renewed by a new attestation (TPM) or by `RenewAgent` (join token).
    pub reattestable: bool,
}

impl AgentSvid {
    /// `spiffe://td/spire/agent/…`.
    pub fn id(&self) -> &SpiffeId {
        self.svid.claimed_id()
    }
}
