//! Proof by a document: a certificate, a signed identity of a cloud. Someone else vouches for the node; its TPM was not asked.

use plastron_attestation_appraise::{CheckRecord, Checklist};
use plastron_spiffe::{Selector, SpiffeId, SpiffeIdError, TrustDomain};

/// Path of every agent's ID.
const AGENT: &str = "/spire/agent";
/// Attestation types whose agents' IDs no document may make: what they prove is more, or is spent.
const OTHERS: [&str; 2] = ["tpm", "join_token"];

/// Proof that a document vouches for a node, under the ID that it makes. The node attests again whenever its SVID is renewed.
#[derive(Debug)]
pub struct DocumentProof {
    attestation_type: &'static str,
    id: SpiffeId,
    selectors: Vec<Selector>,
    records: Vec<CheckRecord>,
}

impl DocumentProof {
    /// `path`: below `/spire/agent`. Checks, in order: the path begins with `/`; it is none of a TPM's or a join token's; it makes a
    /// SPIFFE ID.
    pub fn new(
        attestation_type: &'static str,
        trust_domain: &TrustDomain,
        path: &str,
        selectors: Vec<Selector>,
        checks: Checklist,
    ) -> Result<Self, DocumentError> {
        let first = path.strip_prefix('/').ok_or_else(|| DocumentError::Path { path: path.to_owned() })?;
        let first = first.split('/').next().unwrap_or_default();
        if OTHERS.contains(&first) {
            return Err(DocumentError::OthersPath { path: path.to_owned() });
        }
        let id = trust_domain.with_path(&format!("{AGENT}{path}"))?;
        Ok(Self { attestation_type, id, selectors, records: checks.into_records() })
    }

    /// The attestation type.
    pub fn attestation_type(&self) -> &'static str {
        self.attestation_type
    }

    /// The agent's ID.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What the document says of the node.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Every check that was made, in order.
    pub fn records(&self) -> &[CheckRecord] {
        &self.records
    }
}

/// Why a document makes no agent's ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not below `/spire/agent`.
    #[error("the agent's path {path:?} does not begin with /")]
    Path {
        /// What it is.
        path: String,
    },
    /// The ID of a node that proves itself in another way.
    #[error("the agent's path {path:?} is that of nodes with a TPM or a join token")]
    OthersPath {
        /// What it is.
        path: String,
    },
    /// No SPIFFE ID.
    #[error("the agent's path makes no SPIFFE ID: {0}")]
    Id(#[from] SpiffeIdError),
}
