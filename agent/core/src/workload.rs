//! Asks all workload attestors about a process (SPIRE: `pkg/agent/attestor/workload`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use plastron_plugins::workload::{WorkloadAttestError, WorkloadAttestor, WorkloadProcess};
use plastron_spiffe::Selector;
use plastron_telemetry::Call;
use tokio::task::JoinSet;

use crate::meters;

/// How long all attestors together may take: a caller waits for this, and hashing a large binary is the slowest of it.
pub const ATTESTATION_TIMEOUT: Duration = Duration::from_secs(20);

/// Most selectors of one process: a real one has some dozens (groups, labels); more is an attestor gone wrong.
pub const MAX_SELECTORS: usize = 4096;

/// The workload attestors of this agent.
#[derive(Clone)]
pub struct WorkloadAttestation {
    attestors: Vec<(Arc<dyn WorkloadAttestor>, Arc<Call>)>,
}

impl WorkloadAttestation {
    /// With these attestors.
    pub fn new(attestors: Vec<Arc<dyn WorkloadAttestor>>) -> Self {
        let counted = |attestor: Arc<dyn WorkloadAttestor>| {
            let calls = Arc::new(meters::workload_attestor(attestor.name()));
            (attestor, calls)
        };
        Self { attestors: attestors.into_iter().map(counted).collect() }
    }

    /// The selectors of a process, from all attestors in parallel.
    ///
    /// An attestor that fails is logged and left out; if all fail, or the process is gone by the end, that is the error. A process
    /// that is gone refuses even where an attestor had an answer: the answer may be about the next owner of its PID.
    pub async fn attest(&self, process: &WorkloadProcess) -> Result<BTreeSet<Selector>, WorkloadAttestationError> {
        let call = meters::WORKLOAD_ATTESTATION.start();
        let selectors = call.ended(self.ask_all(process).await)?;
        meters::DISCOVERED_SELECTORS.record(meters::gauge(selectors.len()));
        Ok(selectors)
    }

    async fn ask_all(&self, process: &WorkloadProcess) -> Result<BTreeSet<Selector>, WorkloadAttestationError> {
        let pid = process.pid;
        let mut running = JoinSet::new();
        for (attestor, calls) in &self.attestors {
            let (attestor, calls, process) = (Arc::clone(attestor), Arc::clone(calls), process.clone());
            running.spawn(async move {
                let call = calls.start();
                (attestor.name().to_owned(), call.ended(attestor.attest(&process).await))
            });
        }
        let deadline = tokio::time::sleep(ATTESTATION_TIMEOUT);
        tokio::pin!(deadline);
        let mut selectors = BTreeSet::new();
        let mut answers = 0_usize;
        loop {
            let joined = tokio::select! {
                joined = running.join_next() => joined,
                () = &mut deadline => return Err(WorkloadAttestationError::TimedOut { pid }),
            };
            match joined {
                None => break,
                Some(Err(error)) => tracing::error!(pid, %error, "Workload attestor ended abnormally"),
                Some(Ok((attestor, Err(error)))) => {
                    if matches!(error, WorkloadAttestError::Gone { .. }) {
                        return Err(WorkloadAttestationError::Gone { pid });
                    }
                    tracing::error!(pid, attestor, %error, "Failed to collect all selectors for PID");
                }
                Some(Ok((_, Ok(found)))) => {
                    answers += 1;
                    selectors.extend(found);
                    if selectors.len() > MAX_SELECTORS {
                        return Err(WorkloadAttestationError::TooManySelectors { pid, got: selectors.len() });
                    }
                }
            }
        }
        if answers == 0 {
            return Err(WorkloadAttestationError::AllFailed { pid });
        }
        if !process.liveness.is_same_process() {
            return Err(WorkloadAttestationError::Gone { pid });
        }
        Ok(selectors)
    }
}

/// Why nothing is known about a process.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadAttestationError {
    /// It ended, or its PID belongs to another by now.
    #[error("workload process {pid} is gone")]
    Gone {
        /// The PID.
        pid: i32,
    },
    /// No attestor had an answer.
    #[error("workload attestation failed: no attestor could say anything about process {pid}")]
    AllFailed {
        /// The PID.
        pid: i32,
    },
    /// The attestors took too long.
    #[error("workload attestation failed: no answer about process {pid} within {} s", ATTESTATION_TIMEOUT.as_secs())]
    TimedOut {
        /// The PID.
        pid: i32,
    },
    /// More selectors than a process can reasonably have.
    #[error("workload attestation failed: process {pid} has {got} selectors, more than {MAX_SELECTORS}")]
    TooManySelectors {
        /// The PID.
        pid: i32,
        /// How many there were.
        got: usize,
    },
}

#[cfg(test)]
mod tests;
