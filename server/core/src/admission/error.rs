//! Why a node gets no SVID. What the peer is told is decided at the gRPC edge, by variant.

use plastron_attestation_appraise::{Check, Verdict};
use plastron_plugins::node::Refusal;
use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::CsrError;

use crate::audit::{AttestationOutcome, AuditSinkError};
use crate::authorization::AgentDenial;
use crate::ca::SignError;
use crate::store::{AdmitError, NodeError};

/// A node that is not admitted. SPIRE's texts for the peer are `failed to attest: ` and this error's.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// No such attestor: FailedPrecondition.
    #[error("error getting node attestor: could not find node attestor type {name:?}")]
    UnknownAttestor {
        /// The type asked for.
        name: String,
    },
    /// The CSR is refused: InvalidArgument.
    #[error("the CSR is refused")]
    Csr(#[from] CsrError),
    /// The attestor refused: by the refusal's code.
    #[error(transparent)]
    Refused(Refusal),
    /// The attestor's proof does not name a SPIFFE ID: InvalidArgument. The cause is left out: it would repeat a token.
    #[error("the node can't have a SPIFFE ID")]
    NodeId,
    /// The attestor handed out another attestor's proof: Internal.
    #[error("attestor {asked:?} handed out a proof of {proved:?}")]
    OtherAttestation {
        /// The attestor.
        asked: String,
        /// Whose proof it is.
        proved: &'static str,
    },
    /// The evidence is bound to another key than the CSR's: PermissionDenied.
    #[error("the evidence is bound to another key than the CSR's")]
    OtherKey,
    /// The transaction refused: InvalidArgument for a token that is unknown, PermissionDenied for a node that is banned or
    /// another's, Unavailable where it has to attest again or the store failed.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The SVID could not be signed: Internal or Unavailable.
    #[error("failed to sign the agent's SVID")]
    Sign(#[from] SignError),
    /// The SVID was signed, and its audit line could not be written: Unavailable. Nothing is stored, and no token spent.
    #[error("no SVID is issued unrecorded")]
    Audit(#[from] AuditSinkError),
}

impl AdmissionError {
    /// How the audit log calls it; `reason`: the error in words. Every variant is named, so that a new one gets its word.
    pub(crate) fn outcome<'a>(&self, reason: &'a str) -> AttestationOutcome<'a> {
        let verdict = match self {
            Self::Admit(AdmitError::Pending { .. }) => return AttestationOutcome::Pending { reason },
            Self::Refused(refusal) => refusal.verdict,
            Self::UnknownAttestor { .. }
            | Self::Csr(_)
            | Self::NodeId
            | Self::OtherKey
            | Self::Admit(
                AdmitError::TokenUnknown
                | AdmitError::Banned
                | AdmitError::Quarantined { .. }
                | AdmitError::Rejected { .. }
                | AdmitError::OtherEk { .. }
                | AdmitError::AkOfOtherNode { .. }
                | AdmitError::OtherAttestor { .. },
            ) => Verdict::Untrusted,
            // Nobody can look at it now, or what it was judged by has changed meanwhile.
            Self::Admit(AdmitError::TooManyPending { .. } | AdmitError::JudgedAgainstOther { .. }) => {
                Verdict::Indeterminate
            }
            Self::OtherAttestation { .. } | Self::Admit(AdmitError::Store(_)) | Self::Sign(_) | Self::Audit(_) => {
                Verdict::Error
            }
        };
        AttestationOutcome::Refused { verdict, reason }
    }

    /// The check that failed, where it is one that an attestor does not make itself.
    pub fn check(&self) -> Option<Check> {
        match self {
            Self::OtherKey => Some(Check::QuoteBinding),
            Self::Admit(AdmitError::TokenUnknown) => Some(Check::JoinToken),
            Self::Admit(AdmitError::Banned | AdmitError::Quarantined { .. }) => Some(Check::Standing),
            Self::Admit(
                AdmitError::Pending { .. } | AdmitError::Rejected { .. } | AdmitError::TooManyPending { .. },
            ) => Some(Check::Approval),
            Self::Admit(AdmitError::OtherEk { .. } | AdmitError::AkOfOtherNode { .. }) => Some(Check::Subject),
            Self::UnknownAttestor { .. }
            | Self::Csr(_)
            | Self::Refused(_)
            | Self::NodeId
            | Self::OtherAttestation { .. }
            | Self::Admit(
                AdmitError::OtherAttestor { .. } | AdmitError::JudgedAgainstOther { .. } | AdmitError::Store(_),
            )
            | Self::Sign(_)
            | Self::Audit(_) => None,
        }
    }
}

/// An agent SVID that is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The agent renews by attesting again: PermissionDenied with `PermissionDeniedDetails`.
    #[error("agent {id} {reason}")]
    Denied {
        /// The agent.
        id: SpiffeId,
        /// Why not.
        reason: AgentDenial,
    },
    /// The CSR is refused: InvalidArgument.
    #[error("the CSR is refused")]
    Csr(#[from] CsrError),
    /// The SVID could not be signed: Internal or Unavailable.
    #[error("failed to sign the agent's SVID")]
    Sign(#[from] SignError),
    /// The SVID was signed, and its audit line could not be written: Unavailable. The node keeps the SVID that it has.
    #[error("no SVID is issued unrecorded")]
    Audit(#[from] AuditSinkError),
    /// The node was banned, evicted or renewed meanwhile (PermissionDenied), or the store failed (Unavailable).
    #[error("the renewal was not stored")]
    Node(#[from] NodeError),
}
