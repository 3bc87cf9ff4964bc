//! The server's half.

use std::sync::Arc;

use plastron_plugins::node::{AdmissionContext, EnrolledTpms, NodeAttestor, NodeConversation};

/// The `tpm` node attestor of a server.
pub struct TpmNodeAttestor {
    _known: Arc<dyn EnrolledTpms>,
}

impl NodeAttestor for TpmNodeAttestor {
    fn name(&self) -> &str {
        "tpm"
    }

    fn begin(&self, _context: AdmissionContext) -> Box<dyn NodeConversation> {
        todo!()
    }
}
