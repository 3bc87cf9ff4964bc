//! Who may have the identities of others: the one place that decides it.

use std::collections::BTreeSet;

use plastron_agent_core::WorkloadIdentities;
use plastron_plugins::workload::WorkloadProcess;
use plastron_spiffe::{Selector, SpiffeId};

use crate::refusal::Refusal;

/// The SPIFFE IDs of delegates (SPIRE's `authorized_delegates`). None by default.
#[derive(Clone, Debug, Default)]
pub struct Delegates(BTreeSet<SpiffeId>);

impl Delegates {
    /// These.
    pub fn new(ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// A process that was attested when it called. Whether it is a delegate is asked again before each message.
pub(super) struct Delegate {
    process: WorkloadProcess,
    selectors: BTreeSet<Selector>,
    delegates: Delegates,
    identities: WorkloadIdentities,
}

impl Delegate {
    /// Checks the caller a first time.
    pub(super) fn admit(
        (process, selectors): (WorkloadProcess, BTreeSet<Selector>),
        delegates: &Delegates,
        identities: &WorkloadIdentities,
    ) -> Result<Self, Refusal> {
        let delegate = Self { process, selectors, delegates: delegates.clone(), identities: identities.clone() };
        delegate.check()?;
        Ok(delegate)
    }

    /// Checks, in order: the process still runs; a registration entry matches it; the ID of one of them is a delegate's.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !self.process.liveness.is_same_process() {
            return Err(Refusal::ProcessGone { pid: self.process.pid });
        }
        let entries = self.identities.entries(&self.selectors);
        let Some(first) = entries.first() else { return Err(Refusal::NoIdentity) };
        if entries.iter().any(|entry| self.delegates.0.contains(&entry.spiffe_id)) {
            return Ok(());
        }
        Err(Refusal::NotADelegate { entries: entries.len(), first: first.spiffe_id.clone() })
    }

    pub(super) fn process(&self) -> &WorkloadProcess {
        &self.process
    }
}
