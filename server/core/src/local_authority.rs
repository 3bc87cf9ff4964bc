//! The authorities of this server, as an administrator sees and moves them (SPIRE's LocalAuthority service).
//!
//! What may be done to which authority is SPIRE's: the next one is prepared, a prepared one is activated, an old one is tainted, and a
//! tainted one is revoked. Which code a refusal is on the wire is the API's business; each refusal here has a name.

mod operations;

use std::sync::Arc;

use crate::ca::{CaError, CertificateAuthority};
use crate::ledger::Ledger;
use crate::store::{AuthorityChangeError, JournalEntry, SlotKind, SlotStatus};
use crate::watch::Watchers;

/// Shows and moves the authorities of this server.
pub struct LocalAuthorities {
    ca: Arc<CertificateAuthority>,
    ledger: Arc<Ledger>,
    watchers: Arc<Watchers>,
}

/// An authority, in few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySummary {
    /// X.509: the subject key identifier in lower-case hex. JWT: the `kid`.
    pub authority_id: String,
    /// Unix seconds.
    pub expires_at: i64,
    /// X.509 below an upstream authority: that root's subject key identifier. Otherwise empty.
    pub upstream_authority_subject_key_id: String,
}

impl AuthoritySummary {
    fn of(entry: &JournalEntry) -> Self {
        let upstream = entry.ca().and_then(|ca| ca.upstream_authority_id.clone());
        Self {
            authority_id: entry.authority_id().unwrap_or_default(),
            expires_at: i64::try_from(entry.not_after).unwrap_or(i64::MAX),
            upstream_authority_subject_key_id: upstream.unwrap_or_default(),
        }
    }
}

/// The authorities of one kind that this server has. An old one and a prepared one are never there at the same time: they share a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityState {
    /// Signs.
    pub active: AuthoritySummary,
    /// Published, signs nothing yet.
    pub prepared: Option<AuthoritySummary>,
    /// Signs no more.
    pub old: Option<AuthoritySummary>,
}

/// Why an authority is not shown, or not moved.
#[derive(Debug, thiserror::Error)]
pub enum LocalAuthorityError {
    /// Configuration says so: Unimplemented.
    #[error("JWT functionality is disabled")]
    JwtDisabled,
    /// No authority of the kind is active yet: Unavailable.
    #[error("server is initializing")]
    Initializing,
    /// The request names none: InvalidArgument.
    #[error("no authority ID provided")]
    NoAuthorityId,
    /// Only the authority in the other slot can be activated or tainted: InvalidArgument.
    #[error("unexpected authority ID")]
    UnexpectedAuthorityId,
    /// Only a prepared authority can be activated: Internal, as SPIRE has it.
    #[error("only Prepared authorities can be activated: unsupported local authority status: {}", status_name(*.status))]
    NotPrepared {
        /// What it is.
        status: SlotStatus,
    },
    /// The active one is not tainted, or nothing could be signed: InvalidArgument.
    #[error("unable to taint current local authority")]
    TaintCurrent,
    /// Only an old one is tainted: InvalidArgument.
    #[error("only Old local authorities can be tainted: unsupported local authority status: {}", status_name(*.status))]
    TaintNotOld {
        /// What it is.
        status: SlotStatus,
    },
    /// Not an authority that can be revoked: InvalidArgument.
    #[error("invalid authority ID: {0}")]
    InvalidAuthorityId(InvalidAuthority),
    /// Below an upstream authority, that one's key is tainted and not the server's: FailedPrecondition.
    #[error("local authority can't be {action} if there is an upstream authority")]
    UpstreamAuthority {
        /// `tainted` or `revoked`.
        action: &'static str,
    },
    /// There is no upstream authority: FailedPrecondition.
    #[error("upstream authority is not configured")]
    NoUpstreamAuthority,
    /// Not an upstream authority that can be tainted: InvalidArgument.
    #[error("provided subject key id is not valid: {0}")]
    TaintUpstreamId(InvalidUpstream),
    /// Not an upstream authority that can be revoked: InvalidArgument.
    #[error("invalid subject key ID: {0}")]
    RevokeUpstreamId(InvalidUpstream),
    /// The next authority could not be prepared: Internal.
    #[error("failed to prepare {} authority", kind_name(*.kind))]
    Prepare {
        /// Of which kind.
        kind: SlotKind,
        /// Why.
        source: CaError,
    },
    /// The prepared authority could not be activated: Internal.
    #[error("failed to activate {} authority", kind_name(*.kind))]
    Activate {
        /// Of which kind.
        kind: SlotKind,
        /// Why.
        source: CaError,
    },
    /// The bundle was not changed: Internal.
    #[error("failed to {step}")]
    Change {
        /// `taint X.509 authority` and the like.
        step: &'static str,
        /// Why.
        source: AuthorityChangeError,
    },
}

/// Why an authority can't be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// The request names none.
    #[error("no authority ID provided")]
    Missing,
    /// It signs.
    #[error("unable to use current authority")]
    Current,
    /// Of X.509 authorities, only the old one of this server.
    #[error("only Old local authority can be revoked")]
    NotOld,
    /// A JWT key that will sign.
    #[error("unable to use a prepared key")]
    Prepared,
    /// No JWT key of the bundle has this identifier.
    #[error("no JWT authority found with provided authority ID")]
    Unknown,
}

/// Why an upstream authority is neither tainted nor revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstream {
    /// The request names none.
    #[error("no subject key ID provided")]
    Missing,
    /// The active authority's chain ends there.
    #[error("unable to use upstream authority singing current authority")]
    Current,
    /// The old authority's chain does not end there.
    #[error("upstream authority didn't sign the old local authority")]
    NotOld,
    /// Only a prepared authority's chain ends there.
    #[error("only upstream authorities signing an old authority can be used")]
    Prepared,
}

/// As SPIRE's journal names it.
fn status_name(status: SlotStatus) -> &'static str {
    match status {
        SlotStatus::Prepared => "PREPARED",
        SlotStatus::Active => "ACTIVE",
        SlotStatus::Old => "OLD",
    }
}

fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::X509 => "X.509",
        SlotKind::Jwt => "JWT",
    }
}
