//! Node attestors: the server's half decides, the agent's half proves.

mod agent;
mod server;

pub use agent::{AgentNodeAttestor, AgentConversation, AgentContext, AgentAttestError};
pub use server::{
    Admission, AdmissionContext, NodeAttestor, NodeConversation, NodeStep, PresentedToken, Refusal, RefusalCode,
};
