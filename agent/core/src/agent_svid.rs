//! The agent's own SVID with its key.

use std::sync::Arc;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::X509Svid;

use crate::PrivateKey;

/// The SVID that the agent shows to the server.
#[derive(Debug)]
pub struct AgentSvid {
    /// Chain, leaf first, with validity and serial number.
    pub svid: X509Svid,
    /// The leaf's key.
    pub private_key: Arc<PrivateKey>,
    /// Whether it is renewed by a new attestation (TPM) or by `RenewAgent` (join token).
    pub reattestable: bool,
}

impl AgentSvid {
    /// `spiffe://td/spire/agent/…`.
    pub fn id(&self) -> &SpiffeId {
        self.svid.claimed_id()
    }
}
