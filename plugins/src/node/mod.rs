//! Node attestors: the server's half decides, the agent's half proves.

mod agent;
mod document;
mod enrolled;
mod held_key;
mod server;

pub use agent::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};
pub use document::{DocumentError, DocumentProof};
pub use enrolled::{EnrolledTpms, KeptEventLogs, KeptEventLogsError, TrustBundle};
pub use held_key::{HeldKey, HeldKeyError, HoldsSvidKey};
pub use plastron_attestation_appraise::{KnownTpm, Standing};
pub use server::{
    Admission, AdmissionContext, JudgesEnrolled, NodeAttestor, NodeConversation, NodeStep, PresentedToken, Refusal,
    RefusalCode,
};
