//! Node attestors: the server's half decides, the agent's half proves.

mod agent;
mod server;

pub use agent::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};
pub use server::{
    Admission, AdmissionContext, NodeAttestor, NodeConversation, NodeStep, PresentedToken, Refusal, RefusalCode,
};
