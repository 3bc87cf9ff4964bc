//! Which agents' workloads have a bundle.

use std::fmt;

use plastron_spiffe::SpiffeId;

/// Agents named in a line: who looks into it needs a beginning, and a fleet does not fit a line.
const NAMED: usize = 5;

/// The connected agents of this server, and those of them that have not acknowledged a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// How many agents are connected.
    pub of: usize,
    /// Those that have not acknowledged it, in order.
    pub missing: Vec<SpiffeId>,
}

impl Acknowledged {
    /// How many have acknowledged it.
    pub fn count(&self) -> usize {
        self.of.saturating_sub(self.missing.len())
    }
}

/// For the audit line: `acknowledged by 9 of 10 connected agents, not by spiffe://…`.
impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged by {} of {} connected agents", self.count(), self.of)?;
        names(f, ", not by ", &self.missing)
    }
}

/// The first few of these agents after `begin`, and how many more there are.
pub(super) fn names(f: &mut fmt::Formatter<'_>, begin: &str, agents: &[SpiffeId]) -> fmt::Result {
    for (index, id) in agents.iter().take(NAMED).enumerate() {
        write!(f, "{}{id}", if index == 0 { begin } else { ", " })?;
    }
    let more = agents.len().saturating_sub(NAMED);
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}
