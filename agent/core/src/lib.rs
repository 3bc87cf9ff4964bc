//! The agent's decisions: prove the node to the server, keep SVIDs fresh, decide what a workload may have.
//!
//! A service (layer 3): no sockets, no wire format. The server is reached through [`upstream::Upstream`], which `agent/upstream`
//! implements; workloads are served by `agent/workload-api`, which takes [`WorkloadIdentities`], [`jwt::JwtSvids`] and
//! [`WorkloadAttestation`].
//! Time comes from a [`Clock`]; only programs construct the real one.
//!
//! What this crate deliberately does not do: it opens no connection, chooses no attestor, and verifies no token for a workload.

mod agent;
mod agent_svid;
mod attest;
mod bootstrap;
mod cache;
mod clock;
mod csr;
mod distrust;
mod enrol;
mod follow;
mod foreign;
mod held_bundle;
mod identity;
mod info;
mod issued;
pub mod jwt;
mod key;
mod key_file;
mod meters;
mod persist;
mod private_file;
mod report;
mod rotate;
mod schedule;
mod sign;
mod snapshot;
mod standing;
mod subscription;
mod sync;
mod taint;
pub mod upstream;
mod workload;

pub use agent::{Agent, AgentError, Settings};
pub use agent_svid::{AgentSvid, SvidKey};
pub use attest::AttestError;
pub use bootstrap::{
    BootstrapAttempt, BootstrapError, BootstrapReason, BootstrapSource, DEFAULT_REBOOTSTRAP_DELAY, Rebootstrap,
    RebootstrapMode,
};
pub use clock::Clock;
pub use csr::CsrBuildError;
pub use identity::Identity;
pub use info::{AgentInfo, AgentState, ShownCertificate};
pub use issued::IssuedError;
pub use key::{KeyError, PrivateKey, SvidKeyType};
pub use persist::{DataDir, KeyCustody, PersistError};
pub use snapshot::Publisher;
pub use subscription::{
    BundleSet, BundleSubscription, Publications, Readiness, Subscription, WorkloadIdentities, WorkloadState,
    WorkloadUpdate,
};
pub use workload::{ATTESTATION_TIMEOUT, MAX_SELECTORS, WorkloadAttestation, WorkloadAttestationError};
