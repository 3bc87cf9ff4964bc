//! Whether a person has to look before a TPM is let in: the pool says who has to wait, and for what. Who decided what is `server/core`'s
//! business; nothing here lets anyone in.

use std::fmt;

/// Whether a person has to approve what the pool's rules would admit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approval {
    /// The rules suffice.
    #[default]
    NotAsked,
    /// A person has to approve too.
    ByPerson,
}

/// What a person has to approve before a node is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsApproval {
    /// A TPM that was not known.
    NewNode,
    /// A known TPM with another AK: it was cleared, or its disk was lost.
    NewAk,
}

impl fmt::Display for NeedsApproval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewNode => "new node",
            Self::NewAk => "new AK",
        })
    }
}
