//! Which agents an authority still carries: what an operator has to know before it is revoked.
//!
//! It refuses nothing. An authority whose key is stolen has to go at once, and an agent that hangs must not keep it in the bundle; SPIRE
//! does not ask either. But whoever cut agents off finds in the audit log how many, and whom to give a new join token.

use std::fmt;
use std::sync::Arc;

use plastron_spiffe::x509::{Purpose, VerifiedSvid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId};
use rustls_pki_types::UnixTime;

use super::acknowledged::names;

/// The connected agents of this server, and those of them whose own SVID leads to certain authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependent {
    /// How many agents are connected.
    pub of: usize,
    /// Those that present such an SVID, in order.
    pub agents: Vec<SpiffeId>,
}

impl Dependent {
    /// A verification takes some hundred microseconds, and there may be thousands, so it is done off the threads that serve.
    pub(super) async fn find(presented: Vec<Arc<VerifiedSvid>>, authorities: Bundle, now: UnixTime) -> Self {
        let of = presented.len();
        let found = tokio::task::spawn_blocking(move || {
            let leads = |svid: &Arc<VerifiedSvid>| {
                verify_chain(svid.svid().clone(), &authorities, Purpose::ClientAuth, now).is_ok()
            };
            let mut agents: Vec<SpiffeId> =
                presented.iter().filter(|svid| leads(svid)).map(|svid| svid.id().clone()).collect();
            agents.sort();
            agents
        });
        // A panic in it would be a fault of ours, and no reason to keep an authority.
        Self { of, agents: found.await.unwrap_or_default() }
    }
}

/// For the audit line: `1 of 10 connected agents still have SVIDs of it: spiffe://…`.
impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connected agents still have SVIDs of it", self.agents.len(), self.of)?;
        names(f, ": ", &self.agents)
    }
}
