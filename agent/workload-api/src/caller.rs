//! Which process calls: what the transport noted when the connection was accepted.

use plastron_plugins::workload::WorkloadProcess;
use plastron_transport::PeerCredentials;
use tonic::Extensions;

use crate::refusal::Refusal;

/// The process at the other end of the connection that a request came over.
pub(crate) fn caller(extensions: &Extensions) -> Result<WorkloadProcess, Refusal> {
    let peer = extensions.get::<PeerCredentials>().ok_or(Refusal::NoPeer)?;
    peer.process.clone().map_err(Refusal::Peer)
}
