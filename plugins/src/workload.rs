//! Workload attestors: they find out what a process is.

use std::sync::Arc;

use plastron_spiffe::Selector;

/// Tells whether a process is still the one that connected; guards against the reuse of its PID.
pub trait Liveness: Send + Sync {
    /// True while the very process that connected still runs.
    fn is_same_process(&self) -> bool;
}

/// The process at the other end of a Unix socket.
#[derive(Clone)]
pub struct WorkloadProcess {
    /// Its PID in our PID namespace.
    pub pid: i32,
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Asked before and after whatever is read about the PID.
    pub liveness: Arc<dyn Liveness>,
}

/// A workload attestor.
#[async_trait::async_trait]
pub trait WorkloadAttestor: Send + Sync {
    /// The selector type.
    fn name(&self) -> &str;

    /// The selectors of this process. An error means that this attestor can say nothing, not that the process is refused.
    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError>;
}

/// Why an attestor has nothing to say about a process.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadAttestError {
    /// The process ended, or its PID belongs to another by now.
    #[error("workload process {pid} is gone")]
    Gone {
        /// The PID.
        pid: i32,
    },
    /// Something about it can't be read.
    #[error("can't read {what} of process {pid}: {reason}")]
    Unreadable {
        /// The PID.
        pid: i32,
        /// Which fact.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// It runs as somebody else than when it connected: a set-uid program, or dropped privileges.
    #[error("process {pid} connected with uid and gid {connected:?} and has {now:?} now")]
    OtherCredentials {
        /// The PID.
        pid: i32,
        /// Effective user and group id when it connected.
        connected: (u32, u32),
        /// Effective user and group id now.
        now: (u32, u32),
    },
    /// What was read twice is not the same, so that nothing is true of one moment.
    #[error("{what} of process {pid} changed while they were read")]
    Changed {
        /// The PID.
        pid: i32,
        /// Which facts.
        what: &'static str,
    },
}
