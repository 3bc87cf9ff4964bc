//! Why the server above does not serve this one.

use std::path::PathBuf;

use plastron_spiffe::SpiffeId;

use crate::answer::AnswerFault;

/// Why the server above does not serve this one.
#[derive(Debug, thiserror::Error)]
pub enum SpireError {
    /// This server is nobody's workload yet, or the agent is away.
    #[error(
        "the Workload API at {} gave this server no SVID ({reason}); on the server above, make an entry with -downstream whose selectors \
         are this server's and whose parent is that agent",
        .socket.display()
    )]
    NoIdentity {
        /// The socket.
        socket: PathBuf,
        /// What was last heard from there.
        reason: String,
    },
    /// The server above does not take this server for a downstream one.
    #[error("the server at {address} refuses {rpc} to {id} ({message}); its entry there needs -downstream")]
    NotDownstream {
        /// The server above.
        address: String,
        /// The call.
        rpc: &'static str,
        /// Who was refused.
        id: SpiffeId,
        /// What it said.
        message: String,
    },
    /// The server above can't be reached, or whoever answers there is somebody else.
    #[error("no connection to the server at {address}: {reason}")]
    Unreachable {
        /// The server above.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server above answered with an error.
    #[error("the server at {address} refuses {rpc} with {code}: {message}")]
    Status {
        /// The server above.
        address: String,
        /// The call.
        rpc: &'static str,
        /// The code.
        code: String,
        /// What it said.
        message: String,
    },
    /// No answer in time.
    #[error("the server at {address} did not answer {rpc} within {seconds} s")]
    TooSlow {
        /// The server above.
        address: String,
        /// The call.
        rpc: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// Its answer can't be used.
    #[error("the answer of the server at {address} to {rpc} is refused")]
    Answer {
        /// The server above.
        address: String,
        /// The call.
        rpc: &'static str,
        /// What is wrong with it.
        source: AnswerFault,
    },
}

impl SpireError {
    /// Whether asking again changes nothing by itself.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::NotDownstream { .. } | Self::Status { .. } | Self::Answer { .. } => true,
            Self::NoIdentity { .. } | Self::Unreachable { .. } | Self::TooSlow { .. } => false,
        }
    }
}
