//! Why a call ends, and what its caller is told: the one place where this crate chooses codes and words. Clients act on both
//! (InvalidArgument is final, `no identity issued` withdraws material), so they are SPIRE's.

use plastron_agent_core::WorkloadAttestationError;
use plastron_transport::PeerError;
use tonic::Status;

/// Why a call is refused or a stream ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the connection does not tell which process is at its other end")]
    NoPeer,
    #[error("the process at the other end of the connection can't be known")]
    Peer(#[source] PeerError),
    #[error("the workload can't be attested")]
    Attestation(#[from] WorkloadAttestationError),
    #[error("process {pid}, to which the stream belongs, is gone")]
    ProcessGone { pid: i32 },
    #[error("no registration entry matches the workload")]
    NoIdentity,
    #[error("the trust domain's bundle holds no X.509 authority")]
    EmptyBundle,
    #[error("nothing to deliver yet: not synchronised with the server, or the SVID is not signed yet")]
    NotReady,
    #[error("the agent is shutting down")]
    ShuttingDown,
    #[error("JWT-SVIDs are not served")]
    NoJwt,
    #[error("WIT-SVIDs are not served")]
    NoWit,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoPeer | Refusal::Peer(_) | Refusal::Attestation(_) | Refusal::ProcessGone { .. } => {
                Self::unavailable("workload attestation failed")
            }
            Refusal::NoIdentity => Self::permission_denied("no identity issued"),
            Refusal::EmptyBundle => Self::unavailable("the trust domain has no X.509 authority yet"),
            Refusal::NotReady => Self::unavailable("the agent has no SVID for this workload yet, try again"),
            Refusal::ShuttingDown => Self::unavailable("the agent is shutting down"),
            Refusal::NoJwt => Self::unimplemented("JWT functionality is disabled"),
            Refusal::NoWit => Self::unimplemented("WIT functionality is disabled"),
        }
    }
}
