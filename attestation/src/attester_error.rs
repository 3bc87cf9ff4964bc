//! Why the agent's half of a conversation fails. Not here: what the TPM says (`device`).

use crate::log_transfer::LogKind;
use crate::wire::WireError;

/// Why the agent's half can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttesterError {
    /// The challenge, or a request for a part of the log, does not parse.
    #[error("the server's message does not parse")]
    Challenge(#[from] WireError),
    /// The server asks for a part of a log that there is not.
    #[error("the server asks for the {log} from byte {offset} on, and it has {len} bytes")]
    LogPart {
        /// Which log.
        log: LogKind,
        /// Where the part would begin.
        offset: u32,
        /// The length of the log; 0 where there is none.
        len: usize,
    },
    /// The server asks for a certification of a key that is not in the TPM.
    #[error("the server asks for a certification of the SVID's key, which is not in the TPM")]
    NoKeyToCertify,
    /// Something out of order.
    #[error("unexpected {got}")]
    Sequence {
        /// What came.
        got: &'static str,
    },
}
