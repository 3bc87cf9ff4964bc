//! JWT-SVIDs for workloads, by their agents (NewJWTSVID).
//!
//! In this order: the entry is one that the agent may serve; there is an audience; the agent still stands; then the JWT key signs, and
//! the agent is asked for once more after the signature, and once more after the audit line. Reads no database.

use std::time::Duration;

use plastron_spiffe::SpiffeId;

use super::{Issuance, verdict_deadline};
use crate::audience::{Audience, AudienceError};
use crate::audit::{AuditSinkError, Issue, Recorded};
use crate::authorization::{AgentDenial, Permit, rpc};
use crate::ca::{IssuedJwt, JwtLeaf, SignError};
use crate::clock::unix_seconds;

impl Issuance {
    /// Issues a JWT-SVID of an entry: its ID, its lifetime or the default, a `jti` where it says so. The token of a node whose TPM was
    /// judged ends with the verdict.
    pub async fn new_jwt_svid(
        &self,
        permit: Permit<rpc::NewJwtSvid>,
        entry_id: &str,
        audience: Vec<String>,
    ) -> Result<Recorded<IssuedJwt>, JwtRefusal> {
        let (state, agent) = (self.ledger.state(), permit.caller());
        let now = unix_seconds(self.clock.now());
        let entry = state
            .find_authorized_entries(agent.id(), [entry_id], now)
            .remove(entry_id)
            .ok_or_else(|| JwtRefusal::EntryNotFound { id: entry_id.to_owned() })?;
        let audience = Audience::new(audience)?;
        let stands = || {
            let denied = |reason| JwtRefusal::Agent { id: agent.id().clone(), reason };
            verdict_deadline(state, agent).map_err(denied)
        };
        let ttl = match entry.jwt_svid_ttl {
            0 => self.default_jwt_ttl,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let leaf = JwtLeaf {
            spiffe_id: &entry.spiffe_id,
            audience: audience.as_slice(),
            ttl,
            not_after: stands()?,
            include_jti: entry.jwt_svid_include_jti,
        };
        let token = self.ca.sign_jwt(leaf).await?;
        stands()?;
        let issue = Issue { actor: permit.identity(), purpose: "workload", withhold_id: false };
        let token = self.audit.record(issue, Some(&entry.id), token).await?;
        stands()?;
        tracing::debug!(spiffe_id = %entry.spiffe_id, entry_id = %entry.id, "Signed JWT-SVID");
        Ok(token)
    }
}

/// Why there is no JWT-SVID.
#[derive(Debug, thiserror::Error)]
pub enum JwtRefusal {
    /// No such entry, or the agent may not serve it: NotFound.
    #[error("entry not found or not authorized")]
    EntryNotFound {
        /// The identifier asked for.
        id: String,
    },
    /// For nobody, or for too many: InvalidArgument.
    #[error(transparent)]
    Audience(#[from] AudienceError),
    /// The agent lost its standing meanwhile: PermissionDenied.
    #[error("agent {id} {reason}")]
    Agent {
        /// The agent.
        id: SpiffeId,
        /// Why it gets nothing.
        reason: AgentDenial,
    },
    /// The JWT key did not sign: Internal, or Unavailable and ResourceExhausted by what the key store said.
    #[error("failed to sign JWT-SVID")]
    Sign(#[from] SignError),
    /// It was signed, and its audit line could not be written: Unavailable.
    #[error("no SVID is issued unrecorded")]
    Audit(#[from] AuditSinkError),
}
