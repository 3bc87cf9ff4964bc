//! Who may call what: the one place that decides.
//!
//! The table ([`table`]) has a row for each RPC and a column for each kind of caller. [`Authorizer::authorize`] compares a caller
//! with a row, in SPIRE's order (anyone, local, admin, downstream, agent), and hands out a [`Permit`] that only it can make.
//! What it does not do: it neither authenticates (the TLS layer and the socket did that) nor looks at requests. While the audit log
//! can't be written, it lets in only what [`Effect`] says.

mod caller;
mod effect;
mod permit;
pub mod table;

use std::collections::BTreeSet;
use std::sync::Arc;

use plastron_spiffe::x509::{Purpose, SerialNumber, SvidError, VerifiedSvid, verify_chain};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain};

pub use caller::{Caller, LocalPeer};
pub use effect::Effect;
pub use permit::{Agent, Anyone, CallerClass, Downstream, Local, Manager, ManagerOrAgent, Permit};
pub use table::{Columns, Method, Rpc, rpc};

use crate::audit::{AuditLog, AuditSinkError, chain};
use crate::clock::Clock;
use crate::ledger::{Ledger, Write};
use crate::store::{NodeError, Standing};
use permit::Grant;

/// Decides, from the table and the state in memory, what a caller may do.
pub struct Authorizer {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditLog>,
    admin_ids: BTreeSet<SpiffeId>,
}

impl Authorizer {
    /// `admin_ids`: SPIFFE IDs that configuration makes administrators, in whichever trust domain.
    pub fn new(
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditLog>,
        admin_ids: impl IntoIterator<Item = SpiffeId>,
    ) -> Self {
        Self { ledger, clock, audit, admin_ids: admin_ids.into_iter().collect() }
    }

    /// The trust domains of the administrators that configuration names, each once.
    pub(crate) fn admin_domains(&self) -> BTreeSet<&TrustDomain> {
        self.admin_ids.iter().map(SpiffeId::trust_domain).collect()
    }

    /// Decides whether `caller` may call `R`. Reads no database; an agent's first call with its new SVID is one commit.
    pub async fn authorize<R: Rpc>(&self, caller: &Caller) -> Result<Permit<R>, Denied> {
        let grant = self.grant(R::METHOD, caller).await?;
        let identity = caller.describe();
        let caller =
            R::Caller::from_grant(grant).ok_or_else(|| Denied::Method { method: R::METHOD.path().to_owned() })?;
        Ok(Permit::new(caller, identity))
    }

    /// For what is routed by its path alone: whether the caller may call it. A path without a row is refused.
    pub async fn authorize_path(&self, path: &str, caller: &Caller) -> Result<(), Denied> {
        let method =
            Method::from_path(path).ok_or_else(|| Denied::Method { method: path.escape_debug().to_string() })?;
        self.grant(method, caller).await.map(|_grant| ())
    }

    /// Who is not let in learns that, and nothing of the audit log.
    async fn grant(&self, method: Method, caller: &Caller) -> Result<Grant, Denied> {
        let grant = self.column(method, caller).await?;
        if method.effect() == Effect::Extends {
            self.audit.check().await?;
        }
        Ok(grant)
    }

    async fn column(&self, method: Method, caller: &Caller) -> Result<Grant, Denied> {
        let columns = method.columns();
        let denied = || Denied::Method { method: method.path().to_owned() };
        if let Caller::Svid { svid, .. } = caller {
            self.unexpired(svid).inspect_err(log_denial)?;
        }
        if columns.anyone {
            return Ok(Grant::Anyone);
        }
        let svid = match caller {
            Caller::Local(_) if columns.local => return Ok(Grant::Local),
            Caller::Local(_) | Caller::Anonymous { .. } => return Err(denied()),
            Caller::Svid { svid, .. } => svid,
        };
        let id = svid.id();
        if columns.admin && (self.admin_ids.contains(id) || self.ledger.state().is_admin(id, self.now())) {
            self.still_trusted(svid).map_err(|_logged| denied())?;
            return Ok(Grant::Admin(id.clone()));
        }
        if columns.downstream && self.ledger.state().is_downstream(id, self.now()) {
            self.still_trusted(svid).map_err(|_logged| denied())?;
            return Ok(Grant::Downstream(id.clone()));
        }
        if columns.agent {
            let agent = self.agent(svid).await.inspect_err(log_denial);
            return agent.map(Grant::Agent);
        }
        Err(denied())
    }

    /// TLS looked at the validity once, when the connection was made; a connection may outlive it.
    fn unexpired(&self, svid: &VerifiedSvid) -> Result<(), Denied> {
        let (not_after, now) = (svid.svid().not_after(), self.clock.now().as_secs());
        if now > not_after {
            let reason = AgentDenial::Expired { not_after, now };
            return Err(Denied::Agent { id: svid.id().clone(), reason });
        }
        Ok(())
    }

    /// TLS looked at the chain once. Since then its authority may have been revoked, or the bundle of a foreign trust domain deleted; of agents
    /// the serial number tells as much.
    fn still_trusted(&self, svid: &VerifiedSvid) -> Result<(), SvidError> {
        let (state, trust_domain) = (self.ledger.state(), svid.id().trust_domain());
        let own = state.bundle().filter(|bundle| bundle.trust_domain == *trust_domain);
        let bundle = own.or_else(|| state.federated_bundle(trust_domain));
        let bundle = bundle.unwrap_or_else(|| Arc::new(Bundle::empty(trust_domain.clone())));
        let verified = verify_chain(svid.svid().clone(), bundle.as_ref(), Purpose::ClientAuth, self.clock.now());
        verified.map(|_again| ()).inspect_err(|error| {
            tracing::warn!(caller_id = svid.id().as_str(), error = chain(error), "Caller's SVID is trusted no more");
        })
    }

    /// Checks, in order: the node is known; it is not banned; its last evidence was not refused; its serial number is the current one,
    /// or the pending one, which is current from now on.
    async fn agent(&self, svid: &Arc<VerifiedSvid>) -> Result<Agent, Denied> {
        let id = svid.id();
        let denied = |reason| Denied::Agent { id: id.clone(), reason };
        let node = self.ledger.state().node(id).ok_or_else(|| denied(AgentDenial::NotAttested))?;
        let serial = SerialNumber::from_bytes(svid.svid().serial());
        let (current, pending) = match &node.standing {
            Standing::Banned { .. } => return Err(denied(AgentDenial::Banned)),
            Standing::CutOff { .. } | Standing::Quarantined { .. } => return Err(denied(AgentDenial::MustReattest)),
            Standing::Active { current, pending } => (current, pending),
        };
        let not_active = || denied(AgentDenial::NotActive);
        let serial = serial.ok_or_else(not_active)?;
        if serial == current.serial {
            return Ok(Agent::new(Arc::clone(svid), serial));
        }
        if pending.as_ref().is_none_or(|pending| pending.serial != serial) {
            return Err(not_active());
        }
        let (promoted, first_used) = (id.clone(), serial.clone());
        self.ledger
            .write(Write::RecordFirstUse, move |store| async move { store.promote(promoted, first_used).await })
            .await
            .map_err(|error: NodeError| match error {
                NodeError::NotFound { .. } => denied(AgentDenial::NotAttested),
                NodeError::Banned { .. } => denied(AgentDenial::Banned),
                NodeError::SerialMoved { .. } => not_active(),
                NodeError::Store(_) => Denied::Undecided { source: error },
            })?;
        Ok(Agent::new(Arc::clone(svid), serial))
    }

    fn now(&self) -> i64 {
        crate::clock::unix_seconds(self.clock.now())
    }
}

/// In SPIRE's words: alerts match them.
fn log_denial(denied: &Denied) {
    let Denied::Agent { id, reason } = denied else { return };
    let caller_id = id.as_str();
    match reason {
        AgentDenial::Expired { .. } => tracing::error!(caller_id, "Agent SVID is expired"),
        AgentDenial::NotAttested => tracing::error!(caller_id, "Agent is not attested"),
        AgentDenial::NotActive => tracing::error!(caller_id, "Agent SVID is not active"),
        AgentDenial::Banned => tracing::error!(caller_id, "Agent is banned"),
        AgentDenial::MustReattest => tracing::warn!(caller_id, "Agent must attest again"),
    }
}

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No column of the method's row fits the caller, or there is no such row: PermissionDenied.
    #[error("authorization denied for method {method}")]
    Method {
        /// Full method name; escaped.
        method: String,
    },
    /// The caller is no agent in good standing, or its SVID has expired, whoever it is: PermissionDenied with `PermissionDeniedDetails`.
    #[error("agent {id} {reason}")]
    Agent {
        /// Who called.
        id: SpiffeId,
        /// Why not.
        reason: AgentDenial,
    },
    /// The store could not record what the decision depends on: Unavailable.
    #[error("the caller's standing can't be decided now")]
    Undecided {
        /// What the store said.
        source: NodeError,
    },
    /// What the call would give could not be recorded: Unavailable.
    #[error("nothing is issued and no right is given for now")]
    Unrecorded(#[from] AuditSinkError),
}

/// Why an SVID is not that of an agent in good standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentDenial {
    /// The SVID has expired since the connection was made.
    #[error("SVID is expired: not valid after {not_after}, now {now}")]
    Expired {
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// No such node.
    #[error("is not attested")]
    NotAttested,
    /// The node has another SVID by now.
    #[error("is not active: the serial number is neither that of its current nor of its next SVID")]
    NotActive,
    /// An operator banned it.
    #[error("is banned")]
    Banned,
    /// It renews by attesting again, not by asking, or its last evidence was refused.
    #[error("must reattest")]
    MustReattest,
}

impl AgentDenial {
    /// The number in `spire.api.types.PermissionDeniedDetails.Reason`.
    pub fn number(self) -> i32 {
        match self {
            Self::Expired { .. } => 1,
            Self::NotAttested => 2,
            Self::NotActive => 3,
            Self::Banned => 4,
            Self::MustReattest => 5,
        }
    }
}
