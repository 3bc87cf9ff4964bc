//! What a running agent says about itself to whoever administers it (SPIRE: `pkg/agent/api/debug`).

use std::sync::{Arc, OnceLock};

use plastron_spiffe::Bundle;
pub use plastron_spiffe::x509::ShownCertificate;
use plastron_spiffe::x509::shown_chain;

use crate::jwt::JwtSvids;
use crate::standing::Standing;
use crate::upstream::Caller;
use crate::{Clock, WorkloadIdentities};

/// Tells about an agent, also while it starts. Cheap to clone.
#[derive(Clone)]
pub struct AgentInfo {
    identities: WorkloadIdentities,
    jwt_svids: JwtSvids,
    standing: Arc<OnceLock<Arc<Standing>>>,
    clock: Arc<dyn Clock>,
}

/// An agent at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentState {
    /// The agent's own SVID, then what signed it, up to the authority in the bundle where it leads to one. Empty before the agent has
    /// attested.
    pub svid_chain: Vec<ShownCertificate>,
    /// When the last synchronisation with the server succeeded, Unix seconds; 0 for never.
    pub last_sync: u64,
    /// X.509-SVIDs of workloads that are held.
    pub x509_svids: usize,
    /// JWT-SVIDs of workloads that are held.
    pub jwt_svids: usize,
}

impl AgentInfo {
    pub(crate) fn new(identities: WorkloadIdentities, jwt_svids: JwtSvids, clock: Arc<dyn Clock>) -> Self {
        Self { identities, jwt_svids, standing: Arc::default(), clock }
    }

    /// The agent has attested.
    pub(crate) fn attested(&self, standing: &Arc<Standing>) {
        // An agent runs once.
        let _first = self.standing.set(Arc::clone(standing));
    }

    /// The agent's SVID with its own bundle, and the bundles of other trust domains that it holds. `None` before it has attested.
    pub fn caller(&self) -> Option<(Caller, Vec<Arc<Bundle>>)> {
        let caller = self.standing.get()?.caller();
        let foreign = self
            .identities
            .latest()
            .map_or_else(Vec::new, |snapshot| snapshot.foreign.bundles.values().cloned().collect());
        Some((caller, foreign))
    }

    /// Reads it.
    pub fn read(&self) -> AgentState {
        let held = self
            .identities
            .latest()
            .map_or(0, |snapshot| snapshot.entries.values().filter(|held| held.identity.is_some()).count());
        let (svid_chain, last_sync) = match self.standing.get() {
            Some(standing) => {
                let Caller { svid, bundle } = standing.caller();
                (shown_chain(&svid.svid, &bundle, self.clock.now()), standing.last_sync())
            }
            None => (Vec::new(), 0),
        };
        AgentState { svid_chain, last_sync, x509_svids: held, jwt_svids: self.jwt_svids.held() }
    }
}
