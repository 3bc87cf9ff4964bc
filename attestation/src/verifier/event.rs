//! What the verifier is told, and what it wants done.

use plastron_attestation_appraise::{
    AnnouncedLog, AttestedNode, CredentialEntropy, EkFingerprint, KnownTpm, NONCE_LEN,
};
use plastron_attestation_tcg::Name;

/// Randomness for one conversation.
pub struct Entropy {
    /// The nonce.
    pub nonce: [u8; NONCE_LEN],
    /// For the credential, if one is made.
    pub credential: CredentialEntropy,
}

/// What the verifier is told.
#[derive(Debug)]
pub enum VerifierEvent<'a> {
    /// The agent's first message.
    Payload(&'a [u8]),
    /// The answer to `VerifierAction::LookUp`.
    Known {
        /// The node that has this AK, or had it.
        by_ak: Option<KnownTpm>,
        /// The node with this EK.
        by_ek: Option<KnownTpm>,
    },
    /// The agent's answer to the challenge.
    Response(&'a [u8]),
    /// The answer to `VerifierAction::FetchLog`: the log with that hash, if the server has it.
    StoredLog(Option<Vec<u8>>),
    /// The agent's answer to `VerifierAction::RequestLog` or `RequestImaList`.
    LogChunk(&'a [u8]),
}

/// What the verifier wants done.
#[derive(Debug)]
pub enum VerifierAction {
    /// Look both up and tell.
    LookUp {
        /// The Name of the AK in the payload.
        ak_name: Name,
        /// The EK in the payload. Only claimed so far.
        claimed_ek: EkFingerprint,
    },
    /// Send this to the agent.
    Challenge(Vec<u8>),
    /// Look for this log among those that are kept, and tell. The quote is verified; whoever drives this makes sure that there is memory
    /// for the log.
    FetchLog {
        /// Its hash and length.
        announced: AnnouncedLog,
    },
    /// Send this to the agent, which has to answer with a part of its log. The quote is verified; whoever drives this makes sure that
    /// there is memory for the log.
    RequestLog {
        /// The message.
        message: Vec<u8>,
        /// Hash and length of the whole log.
        announced: AnnouncedLog,
    },
    /// Send this to the agent, which has to answer with a part of its IMA list. The quote is verified; whoever drives this makes sure that
    /// there is memory for the list, beside that of the log.
    RequestImaList {
        /// The message.
        message: Vec<u8>,
        /// Bytes of the whole list, 4 MiB at most.
        len: u32,
    },
    /// The node is attested.
    Admit(Box<AttestedNode>),
}
