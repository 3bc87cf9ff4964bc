//! The agent's half.

use std::path::PathBuf;

use plastron_attestation::{EkTemplate, TpmDevice};
use plastron_plugins::node::{AgentContext, AgentConversation, AgentNodeAttestor};

/// Keeps the wrapped AK in one file of the agent's data directory, mode 0600, replaced atomically.
#[derive(Clone, Debug)]
pub struct AkStore {
    _path: PathBuf,
}

impl AkStore {
    /// At `<data_dir>/tpm_ak.json`.
    pub fn in_data_dir(_data_dir: &std::path::Path) -> Self {
        todo!()
    }
}

/// Why the AK can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AkStoreError {}

/// The `tpm` node attestor of an agent. Owns the TPM and drives it on a thread of its own.
pub struct TpmAgentAttestor {
    _private: (),
}

impl TpmAgentAttestor {
    /// Starts the thread that owns the TPM. Nothing is asked of the TPM before the first conversation.
    pub fn start(_device: Box<dyn TpmDevice>, _template: EkTemplate, _store: AkStore) -> std::io::Result<Self> {
        todo!()
    }
}

impl AgentNodeAttestor for TpmAgentAttestor {
    fn name(&self) -> &str {
        "tpm"
    }

    fn begin(&self, _context: AgentContext) -> Box<dyn AgentConversation> {
        todo!()
    }
}
