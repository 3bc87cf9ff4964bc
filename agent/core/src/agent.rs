//! The agent as a whole: enrol, then keep its own SVID and its workloads' SVIDs fresh until something ends it.

use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::node::{AgentNodeAttestor, HoldsSvidKey};
use plastron_spiffe::{SpiffeId, TrustDomain};

use crate::attest::AttestError;
use crate::bootstrap::{BootstrapSource, Rebootstrap};
use crate::distrust::Distrust;
use crate::follow::Follower;
use crate::foreign::ForeignBundles;
use crate::held_bundle::HeldBundle;
use crate::jwt::{JwtSigner, JwtSvids};
use crate::persist::{DataDir, PersistError};
use crate::snapshot::Publisher;
use crate::standing::Standing;
use crate::sync::Synchroniser;
use crate::upstream::{AgentDenial, Upstream};
use crate::{AgentInfo, Clock, SvidKeyType, WorkloadIdentities, enrol, rotate};

/// What the configuration decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's trust domain.
    pub trust_domain: TrustDomain,
    /// Who says whom to believe before there is a bundle from the server.
    pub bootstrap: Arc<dyn BootstrapSource>,
    /// Whether that counts again when the server is no longer one that its last bundle leads to.
    pub rebootstrap: Rebootstrap,
    /// How often entries and bundles are synchronised where the server does not push changes; much rarer where it does.
    pub sync_interval: Duration,
    /// How long X.509-SVIDs are to outlast an outage of the server, where they live that long and half a day beyond it. `None` for half
    /// of their lives.
    pub availability_target: Option<Duration>,
    /// Most workload SVIDs kept without a workload that asks for them.
    pub x509_svid_cache_max_size: usize,
    /// Most JWT-SVIDs kept.
    pub jwt_svid_cache_max_size: usize,
    /// How long the server is asked for a new JWT-SVID where a valid one is held.
    pub jwt_svid_cache_hit_timeout: Duration,
    /// Type of workload keys.
    pub workload_key_type: SvidKeyType,
    /// The agent's version, for the server.
    pub version: String,
}

/// What the agent works with.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) attestor: Arc<dyn AgentNodeAttestor>,
    /// Where the attestor holds the key of the SVID; `None` where this process makes and keeps it.
    pub(crate) held_keys: Option<Arc<dyn HoldsSvidKey>>,
    pub(crate) data: DataDir,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) distrust: Distrust,
}

/// An agent that does not run yet.
pub struct Agent {
    parts: Parts,
    publisher: Publisher,
    jwt_svids: JwtSvids,
    jwt_signer: JwtSigner,
    info: AgentInfo,
}

impl Agent {
    /// Puts the agent together. What workloads may have appears in the second value as soon as the agent runs.
    pub fn new(
        settings: Settings,
        upstream: Arc<dyn Upstream>,
        attestor: Arc<dyn AgentNodeAttestor>,
        data: DataDir,
        clock: Arc<dyn Clock>,
    ) -> (Self, WorkloadIdentities) {
        let (publisher, identities) = Publisher::new();
        let capacity = settings.jwt_svid_cache_max_size;
        let (jwt_svids, jwt_signer) = JwtSvids::new(identities.clone(), Arc::clone(&clock), capacity);
        let info = AgentInfo::new(identities.clone(), jwt_svids.clone(), Arc::clone(&clock));
        let distrust = Distrust::new(settings.rebootstrap);
        let parts = Parts { settings, upstream, attestor, held_keys: None, data, clock, distrust };
        (Self { parts, publisher, jwt_svids, jwt_signer, info }, identities)
    }

    /// Has the key of the agent's SVID held there, in place of what the data directory's custody says.
    #[must_use]
    pub fn with_held_keys(mut self, held_keys: Arc<dyn HoldsSvidKey>) -> Self {
        self.parts.held_keys = Some(held_keys);
        self
    }

    /// The JWT-SVIDs of its workloads, issued while it runs.
    pub fn jwt_svids(&self) -> JwtSvids {
        self.jwt_svids.clone()
    }

    /// What it says about itself.
    pub fn info(&self) -> AgentInfo {
        self.info.clone()
    }

    /// Runs until the agent has to end, and says why. Dropping the future stops it at any await; nothing is lost by that.
    pub async fn run(self) -> AgentError {
        let Self { parts, publisher, jwt_svids: _, jwt_signer, info } = self;
        let caller = match enrol::enrol(&parts).await {
            Ok(caller) => caller,
            Err(error) => return error,
        };
        let (standing, denials) = Standing::new(caller);
        let standing = Arc::new(standing);
        info.attested(&standing);
        let bundle = HeldBundle::new(&parts.settings.trust_domain, &parts.data, &standing, &publisher);
        let foreign = ForeignBundles::new(&parts, &standing, &publisher);
        let synchroniser = Synchroniser::new(&parts, &standing, &publisher, &bundle, &foreign);
        let follower = Follower::new(&parts, &standing, &bundle, &foreign);
        tokio::select! {
            error = rotate::keep_identity(&parts, &standing, denials) => error,
            never = synchroniser.run() => match never {},
            never = jwt_signer.run(&parts, &standing) => match never {},
            never = follower.run() => match never {},
            never = foreign.run() => match never {},
        }
    }
}

/// Why an agent ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server refused the node's first attestation, or our own half could not answer for good.
    #[error("node attestation was refused; the server's audit log names the check that failed")]
    AttestationRefused(#[source] AttestError),
    /// An operator banned it. Its SVID was removed.
    #[error("{agent_id} is banned; its SVID was removed")]
    Banned {
        /// The agent's ID.
        agent_id: SpiffeId,
    },
    /// The server no longer knows an agent that can't attest again by itself. Its SVID was removed.
    #[error(
        "the server denies {agent_id} ({reason}) and its attestor can't attest again; give it a new join token and start it"
    )]
    Denied {
        /// The agent's ID.
        agent_id: SpiffeId,
        /// The server's reason.
        reason: AgentDenial,
    },
    /// The SVID of an agent that can't attest again ran out before the server could renew it. It was removed.
    #[error(
        "the SVID of {agent_id} expired before it could be renewed and its attestor can't attest again; give it a new join token and start it"
    )]
    Expired {
        /// The agent's ID.
        agent_id: SpiffeId,
    },
    /// It is to rebootstrap whenever that is needed, and can't.
    #[error(
        "rebootstrap_mode is always, but {agent_id} can't attest again by itself: use a node attestor that can (tpm, x509pop), or set \
         rebootstrap_mode to auto or never"
    )]
    CanNotRebootstrap {
        /// The agent's ID.
        agent_id: SpiffeId,
    },
    /// The data directory does not work.
    #[error("the agent can't keep its state")]
    Persist(#[from] PersistError),
}
