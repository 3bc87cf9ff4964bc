//! The agent's decisions: prove the node to the server, keep SVIDs fresh, decide what a workload may have.
//!
//! A service (layer 3): no sockets, no wire format. The server is reached through [`upstream::Upstream`], which `agent/upstream`
//! implements; workloads are served by `agent/workload-api`, which takes [`WorkloadIdentities`] and [`WorkloadAttestation`].
//! Time comes from a [`Clock`]; only programs construct the real one.
//!
//! What this crate deliberately does not do: it opens no connection, chooses no attestor, and knows no JWT-SVIDs yet.

mod agent_svid;
mod clock;
mod identity;
mod key;
mod snapshot;
mod subscription;
pub mod upstream;
mod workload;

pub use agent_svid::AgentSvid;
pub use clock::Clock;
pub use identity::Identity;
pub use key::PrivateKey;
pub use snapshot::Publisher;
pub use subscription::{
    BundleSet, BundleSubscription, Subscription, WorkloadIdentities, WorkloadState, WorkloadUpdate,
};
pub use workload::{ATTESTATION_TIMEOUT, MAX_SELECTORS, WorkloadAttestation, WorkloadAttestationError};
